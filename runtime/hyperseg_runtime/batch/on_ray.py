"""The work on Ray Data: samples go to workers, each of which opens the job once."""

import json
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.data import ActorPoolStrategy

from hyperseg_runtime.batch.item_file import Row
from hyperseg_runtime.batch.working import Job, Worker
from hyperseg_runtime.console import json_line
from hyperseg_runtime.errors import HypersegError

SAMPLES_PER_BLOCK = 8
"""Travel together; as many are lost at most when the process ends."""
ENDING = (HypersegError, MemoryError)
"""Errors that end the run with an exit code of their own, which Ray would wrap in some of its own."""


class _Working:
    """In a worker: the job, opened. An error that ends the run goes to where the rows go, also for later samples."""

    def __init__(self, job: Job) -> None:
        self._error = b""
        try:
            self._opened = job()
            self._answer = self._opened.__enter__()
        except ENDING as error:
            self._error = pickle.dumps(error)

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Rows go as text: Ray would make them columns."""
        rows = b""
        if not self._error:
            try:
                rows = json_line(self._answer(sample["key"]))
            except ENDING as error:
                self._error = pickle.dumps(error)
        return {"key": sample["key"], "rows": rows, "error": self._error}


def on_ray(workers: int) -> Worker:
    """Rows of samples, by `workers` processes of the cluster that Ray is connected to, or of this machine. Raises what
    ended the work in one of them.
    """

    def work(job: Job, keys: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
        began = not ray.is_initialized()
        if began:
            ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
        try:
            samples = ray.data.from_items(
                [{"key": key} for key in keys], override_num_blocks=max(workers, len(keys) // SAMPLES_PER_BLOCK)
            )
            done = samples.map(
                _Working,  # type: ignore[arg-type]  # a class of such callables, with arguments below
                fn_constructor_args=(job,),
                compute=ActorPoolStrategy(size=workers),
            )
            for row in done.iter_rows():
                if row["error"]:
                    raise pickle.loads(row["error"])
                yield row["key"], json.loads(row["rows"])
        finally:
            if began:
                ray.shutdown()

    return work
