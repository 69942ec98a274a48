"""Whole requests of bundles beside each other, each time in a new process: start, first mask, next one, an answer.

    python benchmarks/graphs/bench_quantised_requests.py fp32 int8 int8@openvino fp32@low-memory --rounds 2

A rival is a bundle's folder, with @openvino or @low-memory if it is not run as by default. Its hashes are remembered:
the first process of all, which reads whole files, is not counted. Memory is the largest anonymous part of a process,
looked at fifty times a second: mapped weights are pages of a file, which the system may drop. The last line of output
is the path of the JSON file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from hyperseg_bench import measure
from hyperseg_export.samples import sample_images
from hyperseg_kernels import cpu_ops
from hyperseg_runtime.backends.by_name import make_backend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.requests import Question
from hyperseg_runtime.session.pipeline import OpenedGraphs, Pipeline

RESULT = "quantised_requests"
FIRST, NEXT, ASKED = "the cup on the saucer", "the table behind it", Question("What is on the table?", max_tokens=2)
PAUSE_S = 0.02
LOW_MEMORY, OPENVINO = "low-memory", "openvino"
WAYS: dict[str, dict[str, Any]] = {"": {}, LOW_MEMORY: {"low_memory": True}, OPENVINO: {"backend": OPENVINO}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rivals", nargs="+", metavar="BUNDLE[@WAY]", help="The first is what others are compared with.")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--load", default="nothing else ran", help="What else the machine does; goes into the file.")
    parser.add_argument("--child", choices=("opens", "asks"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child](options.rivals[0], options.threads)))
        return
    found: dict[str, list[dict[str, Any]]] = {rival: [] for rival in options.rivals}
    for rival in options.rivals:
        child("opens", rival, options)  # remembers hashes
    for _ in range(options.rounds):
        for rival, samples in found.items():
            samples.append(child("opens", rival, options) | child("asks", rival, options))
            print(rival, samples[-1], file=sys.stderr, flush=True)
    content = {
        "environment": measure.environment(),
        "conditions": {"rounds": options.rounds, "threads": options.threads, "load": options.load},
        "rows": [summary(rival, samples, found[options.rivals[0]]) for rival, samples in found.items()],
    }
    print(measure.write_results(RESULT, content))


def summary(rival: str, samples: Sequence[dict[str, Any]], wide: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians, and ratios to the first rival's samples of the same round."""
    path, _, way = rival.partition("@")
    manifest = Bundle.read(path).manifest
    medians = {key: round(statistics.median(sample[key] for sample in samples), 3) for key in samples[0]}
    ratios = {
        key: round(measure.ratio([s[key] for s in samples], [s[key] for s in wide]), 3)
        for key in samples[0]
        if key.endswith(("_s", "_cpu_s"))
    }
    form = manifest.quantization.recipe if manifest.quantization else str(manifest.graphs[0].precision)
    row = {"family": manifest.family, "form": form, "way": way, "bundle_gb": round(manifest.size_bytes / 1e9, 2)}
    return {**row, **medians, "ratios": ratios, "samples": list(samples)}


def child(task: str, rival: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, rival, "--child", task, "--threads", str(options.threads)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def opens(rival: str, threads: int) -> dict[str, float]:
    """All graphs, one after the other."""
    path, _, way = rival.partition("@")
    bundle, told = Bundle.open(path), dict(WAYS[way])
    with ExitStack() as opened, Anonymous() as memory:
        name = told.pop("backend", "onnxruntime")
        backend = opened.enter_context(make_backend(name, bundle, threads=threads, **native(), **told))
        start = perf_counter()
        graphs = dict(OpenedGraphs(bundle, backend))
        seconds = perf_counter() - start
        assert len(graphs) == len(bundle.manifest.graphs)
    return {"open_s": seconds, "opened_anonymous_gb": memory.largest_gb}


def asks(rival: str, threads: int) -> dict[str, float]:
    """From nothing to a first mask, the next one, a question about the same image."""
    path, _, way = rival.partition("@")
    image, found = sample_images()[0], {}

    def timed(name: str, call: Callable[[], object]) -> None:
        wall, cpu = perf_counter(), process_time()
        call()
        found[f"{name}_s"], found[f"{name}_cpu_s"] = perf_counter() - wall, process_time() - cpu

    with ExitStack() as opened, Anonymous() as memory:
        start = perf_counter()
        pipeline = opened.enter_context(Pipeline.load(path, threads=threads, **native(), **WAYS[way]))
        session = opened.enter_context(pipeline.open(image))
        timed("first", lambda: session.segment(FIRST))
        found["start_to_mask_s"] = perf_counter() - start
        timed("next", lambda: session.segment(NEXT))
        timed("question", lambda: session.ask(ASKED).finished())
        with pipeline.open(sample_images()[1]) as other:
            timed("loaded", lambda: other.segment(FIRST))
    return {**found, "anonymous_gb": memory.largest_gb}


def native() -> dict[str, Any]:
    """Native kernels of our operators, as verbs use them."""
    return {"custom_op_libraries": cpu_ops.libraries_if_possible()}


class Anonymous:
    """The largest anonymous memory of this process while it is entered, `largest_gb`."""

    def __enter__(self) -> "Anonymous":
        self.largest_gb = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(PAUSE_S):
            rows = Path("/proc/self/status").read_text().splitlines()
            kilobytes = next(int(row.split()[1]) for row in rows if row.startswith("RssAnon"))
            self.largest_gb = max(self.largest_gb, kilobytes * 1024 / 1e9)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


CHILDREN = {"opens": opens, "asks": asks}
COLUMNS = {
    "bundle_gb": "GB on disk",
    "open_s": "all graphs open, s",
    "start_to_mask_s": "start to first mask, s",
    "loaded_cpu_s": "another photograph, CPU s",
    "next_cpu_s": "next expression, CPU s",
    "question_cpu_s": "question, CPU s",
    "anonymous_gb": "anonymous memory, GB",
}


def markdown() -> str:
    """The stored results as the table of benchmarks/README.md."""
    content = json.loads((measure.RESULTS / f"{RESULT}.json").read_text())
    lines = [f"| bundle | {' | '.join(COLUMNS.values())} |", f"|---|{'---|' * len(COLUMNS)}"]
    for row in content["rows"]:
        title = f"{row['form']} {row['way']}".strip()
        lines.append(f"| {title} | {' | '.join(f'{row[key]:.1f}' for key in COLUMNS)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
