"""Whole requests of two commits against each other on a CPU, with the trained tiny model.

    git worktree add ../other COMMIT
    python benchmarks/graphs/bench_commits.py ../other COMMIT --pairs 15

Each commit exports the model and answers in a process of its own; the two take turns, request by request, and which is
first changes. Times are CPU milliseconds of the process that answers, which other work moves less than the clock. The
interval is that of the median ratio of neighbours (bootstrap, 95 %). The last line of output is the path of the JSON
file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
SAMPLES = "export/hyperseg_export/samples"
WARM_UP = 2
DRAWS = 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="A working tree of the other commit.")
    parser.add_argument("commit", help="Its name, for the file.")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--load", default="nothing else ran", help="What else the machine does; goes into the file.")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        answer(options.child)
        return
    from hyperseg_bench import measure

    with tempfile.TemporaryDirectory() as folder:
        trees = {"this": ROOT, "other": options.other.resolve()}
        sides = {side: Side(tree, Path(folder) / side, options) for side, tree in trees.items()}
        rows = [compared(sides, name, options.pairs) for name in REQUESTS]
        for side in sides.values():
            side.close()
    content = {
        "environment": measure.environment(),
        "conditions": {"against": options.commit, "pairs": options.pairs, "threads": 1, "load": options.load},
        "requests": rows,
    }
    print(measure.write_results("commits", content))


class Side:
    """A process that answers with the code of one tree."""

    def __init__(self, tree: Path, folder: Path, options: argparse.Namespace) -> None:
        packages = ("export", "runtime", "kernels", "triton_repo", "benchmarks")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(tree / name) for name in packages)}
        command = [sys.executable, __file__, str(options.other), options.commit, "--child", str(folder)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=tree
        )
        assert self.ask("ready") == {}

    def ask(self, request: str) -> dict[str, float]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        answered: dict[str, float] = json.loads(self._process.stdout.readline())
        return answered

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def compared(sides: dict[str, Side], request: str, pairs: int) -> dict[str, Any]:
    samples: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for turn in range(WARM_UP + pairs):
        for side in sides if turn % 2 else reversed(sides):
            found = sides[side].ask(request)
            if turn >= WARM_UP:
                samples[side].append(found)
    cpu = {side: [one["cpu_ms"] for one in found] for side, found in samples.items()}
    ratios = np.array(cpu["this"]) / np.array(cpu["other"])
    drawn = np.random.default_rng(0).choice(ratios, (DRAWS, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    row = {
        "request": request,
        "this_ms": round(statistics.median(cpu["this"]), 3),
        "other_ms": round(statistics.median(cpu["other"]), 3),
        "ratio": round(float(np.median(ratios)), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
        "samples": samples,
    }
    print({key: value for key, value in row.items() if key != "samples"}, flush=True)
    return row


def answer(folder: Path) -> None:
    """In the child: export once, then a request for each line."""
    from hyperseg_export.export import export_bundle
    from hyperseg_runtime import Pipeline
    from hyperseg_runtime.images.reading import load_image

    tree = Path.cwd()
    said, sys.stdout = sys.stdout, sys.stderr
    export_bundle(tree / SAMPLES / "trained_tiny", folder)
    photo = load_image(tree / SAMPLES / "coffee.jpg")
    with Pipeline.load(folder, "onnxruntime", cache_bytes=0, threads=1) as pipeline, pipeline.open(photo) as kept:
        kept.segment("the red circle")
        for number, line in enumerate(sys.stdin):
            start, wall = process_time(), perf_counter()
            if work := REQUESTS.get(line.strip()):
                work(pipeline, kept, np.roll(photo, number, axis=1), number)
                found = {"cpu_ms": 1000 * (process_time() - start), "wall_ms": 1000 * (perf_counter() - wall)}
            else:
                found = {}
            print(json.dumps(found), file=said, flush=True)


TEXTS = ("the blue square", "the red circle")
REQUESTS: dict[str, Callable[[Any, Any, np.ndarray, int], object]] = {
    "new image and expression": lambda pipeline, kept, image, number: pipeline(image, TEXTS[0]),
    "next expression": lambda pipeline, kept, image, number: kept.segment(TEXTS[number % 2]),
    "answer of 8 tokens": lambda pipeline, kept, image, number: kept.ask("What is there?", max_tokens=8).finished(),
    "question without an image": lambda pipeline, kept, image, number: (
        pipeline.open(None).ask("What is a circle?", max_tokens=8).finished()
    ),
}


if __name__ == "__main__":
    main()
