"""An evaluation on Ray Data: samples go to workers, each of which opens the bundle once."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.data import ActorPoolStrategy

from hyperseg_bench.quality.answering import answered
from hyperseg_bench.quality.datasets.registry import Choice, open_data_set
from hyperseg_bench.quality.evaluation import Subject, Worker
from hyperseg_bench.quality.samples import Row
from hyperseg_runtime.console import json_line

SAMPLES_PER_BLOCK = 8
"""Travel together; as many are lost at most when the process ends."""


class _Asking:
    """In a worker: the bundle and the data set, opened."""

    def __init__(self, subject: Subject, choice: Choice) -> None:
        self._data = open_data_set(choice)
        self._opened = subject.opened()
        self._pipeline = self._opened.__enter__()

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Rows go as text: Ray would make them columns."""
        rows = answered(self._pipeline, self._data.sample(sample["key"]))
        return {"key": sample["key"], "rows": json_line(rows)}


def on_ray(workers: int) -> Worker:
    """Rows of samples, by `workers` processes of the cluster that Ray is connected to, or of this machine."""

    def work(subject: Subject, choice: Choice, keys: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
        began = not ray.is_initialized()
        if began:
            ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
        try:
            samples = ray.data.from_items(
                [{"key": key} for key in keys], override_num_blocks=max(workers, len(keys) // SAMPLES_PER_BLOCK)
            )
            done = samples.map(
                _Asking,  # type: ignore[arg-type]  # a class of such callables, with arguments below
                fn_constructor_args=(subject, choice),
                compute=ActorPoolStrategy(size=workers),
            )
            for row in done.iter_rows():
                yield row["key"], json.loads(row["rows"])
        finally:
            if began:
                ray.shutdown()

    return work
