"""Graphs of quantised bundles beside those of the bundle they were made from: time, in turn in one process.

    python benchmarks/graphs/bench_quantised.py fp32 int8 int4 --graphs llm clip_encoder --backends onnxruntime openvino

Inputs are random, the language model's calls are those of a first expression, of the next one and of a step of an
answer. CPU seconds are those of the whole process, so that other work on the machine counts little. Rivals share inputs
and caches. The last line of output is the path of the JSON file.
"""

import argparse
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from bench_cpu_backends import in_turn
from bench_graphs import example_inputs
from llm_calls import Llm, decode_steps, one, prompt

from hyperseg_bench import measure
from hyperseg_kernels import cpu_ops
from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.backends.by_name import make_backend
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.backends.openvino.backend import why_not
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.reports.machine import installed

RESULT = "quantised_graphs"
ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"
EXPRESSION_TOKENS = (14, 9)
Calls = Mapping[str, Mapping[str, Buffer]]
"""Name of a call, "" for a graph's only one -> inputs."""


@dataclass(frozen=True)
class Rival:
    """A bundle on a backend."""

    bundle: Bundle
    backend: str

    @property
    def name(self) -> str:
        entry = self.bundle.manifest.quantization
        form = str(self.bundle.manifest.graphs[0].precision) if entry is None else entry.recipe
        return form if self.backend == ONNXRUNTIME else f"{form}, {self.backend}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wide", type=Path, help="The bundle that the others were made from.")
    parser.add_argument("bundles", type=Path, nargs="+", help="Quantised ones.")
    parser.add_argument("--graphs", nargs="+", default=[], help="Names of graphs; default: all that were rounded.")
    parser.add_argument("--backends", nargs="+", choices=(ONNXRUNTIME, OPENVINO), default=[ONNXRUNTIME])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--load", default="nothing else ran", help="What else the machine does; goes into the file.")
    options = parser.parse_args()
    bundles = [Bundle.read(path) for path in (options.wide, *options.bundles)]
    names = options.graphs or bundles[1].manifest.rounded_graphs()
    rivals = [Rival(bundle, backend) for bundle in bundles for backend in options.backends]
    rows = [row for name in names for row in measure_graph(name, rivals, options)]
    content = {
        "environment": {**measure.environment(), OPENVINO: installed(OPENVINO)},
        "conditions": {"rounds": options.rounds, "threads": options.threads, "batch": 1, "load": options.load},
        "rows": measure.kept_rows(RESULT, "rows", rows, ("family", "parameters", "graph", "call")),
    }
    print(measure.write_results(RESULT, content))


def measure_graph(name: str, rivals: Sequence[Rival], options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each call: opened once, run in turn. The first rival is what the others are compared with."""
    wide = rivals[0].bundle
    entry = wide.manifest.graph(name)
    calls = calls_of(entry.spec, wide.directory / entry.file, options.threads)
    graphs, open_s = {}, {}
    for rival in rivals:
        if rival.backend == OPENVINO and why_not(entry.spec):
            continue
        own = rival.bundle.manifest.graph(name)
        start = perf_counter()
        libraries = cpu_ops.libraries_if_possible()
        backend = make_backend(rival.backend, rival.bundle, threads=options.threads, custom_op_libraries=libraries)
        graphs[rival.name] = backend.open(own.spec, rival.bundle.directory / own.file)
        open_s[rival.name] = round(perf_counter() - start, 2)
    rows = []
    for call, inputs in calls.items():
        for graph in graphs.values():
            graph.run(inputs)
        samples = in_turn(graphs, dict.fromkeys(graphs, inputs), options.rounds)
        reference = samples[rivals[0].name]
        rows.append({
            "family": wide.manifest.family,
            "parameters": sum(graph.parameters for graph in wide.manifest.graphs),
            "graph": name,
            "call": call,
            "cpu_ratio": {r: round(measure.ratio(s["cpu_s"], reference["cpu_s"]), 3) for r, s in samples.items()},
            "wall_s": {r: round(statistics.median(s["wall_s"]), 4) for r, s in samples.items()},
            "open_s": open_s,
            "samples": samples,
        })  # fmt: skip
        print({key: value for key, value in rows[-1].items() if key != "samples"}, flush=True)
    return rows


def calls_of(spec: GraphSpec, path: Path, threads: int) -> Calls:
    """Buffers for every rival: those of both backends are the same."""
    if spec.in_place:
        llm = Llm(spec, path, threads)
        first, second = (prompt(tokens) for tokens in EXPRESSION_TOKENS)
        packed = {"first": one(first, ()), "next": one(second, first.rows), "step": decode_steps(first, 1)[0]}
        return {name: {**llm.inputs(call), **llm.caches} for name, call in packed.items()}
    backend = OnnxRuntimeBackend(threads)
    return {"": {name: backend.upload(array) for name, array in example_inputs(spec).items()}}


def markdown() -> str:
    """The stored results as the table of benchmarks/README.md: CPU time of every rival in units of the first one's."""
    rows = json.loads((measure.RESULTS / f"{RESULT}.json").read_text())["rows"]
    rivals = list(dict.fromkeys(rival for row in rows for rival in row["cpu_ratio"]))
    lines = [f"| graph | call | {' | '.join(rivals)} |", f"|---|---|{'---|' * len(rivals)}"]
    for row in rows:
        cells = [f"{row['cpu_ratio'][rival]:.2f}" if rival in row["cpu_ratio"] else "" for rival in rivals]
        cells[0] = f"1 ({row['wall_s'][rivals[0]]:.3g} s)"
        lines.append(f"| `{row['graph']}` | {row['call']} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
