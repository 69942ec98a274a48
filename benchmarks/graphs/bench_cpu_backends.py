"""Each graph on the CPU in ONNX Runtime and in OpenVINO, float32 and bfloat16, from one file: time, memory, agreement.

    python benchmarks/graphs/bench_cpu_backends.py --families hyperseg --graphs image_encoder mask_decoder

Weights and inputs are random. All rivals live in one process and run in turn; CPU seconds are those of the whole
process, so that other work on the machine counts little. Cosine is that of the worst output with ONNX Runtime's.
"""

import argparse
import os
import statistics
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from bench_graphs import Subject, export, load_inputs, load_spec

from hyperseg_bench import measure
from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.backends.openvino import OpenVinoBackend
from hyperseg_runtime.backends.openvino.backend import why_not
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.reports.machine import installed

RESULT = "cpu_backends"
REFERENCE = "onnxruntime"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--size", choices=("tiny", "full"), default="full")
    parser.add_argument("--graphs", nargs="+", default=[], help="Names of graphs; default: all that OpenVINO runs.")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--note", default="", help="What else was running.")
    options = parser.parse_args()
    rows = []
    for family in options.families:
        for spec in FAMILIES[family].graph_specs(FAMILIES[family].published):
            if why_not(spec) is None and (not options.graphs or spec.name in options.graphs):
                rows.append(measure_graph(family, spec.name, options))
                print(rows[-1], flush=True)
    conditions = {"rounds": options.rounds, "threads": options.threads, "batch": 1, "note": options.note}
    content = {
        "environment": {**measure.environment(), "openvino": installed("openvino")},
        "conditions": conditions,
        "graphs": measure.kept_rows(RESULT, "graphs", rows, ("family", "size", "graph")),
    }
    print(measure.write_results(RESULT, content))


def measure_graph(family: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row: opened once, run in turn."""
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(family, options.size, name, Path(folder))
        export(subject, options)
        spec, arrays = load_spec(subject.folder), load_inputs(subject.folder)
        path = subject.folder / "graphs" / f"{name}.onnx"
        backends: dict[str, Backend] = {
            REFERENCE: OnnxRuntimeBackend(options.threads),
            "openvino": OpenVinoBackend(options.threads),
            "openvino bf16": OpenVinoBackend(options.threads, bf16=True),
        }
        graphs, open_s = {}, {}
        for rival, backend in backends.items():
            start = perf_counter()
            graphs[rival] = backend.open(spec, path)
            open_s[rival] = round(perf_counter() - start, 2)
        inputs = {rival: upload(backend, arrays) for rival, backend in backends.items()}
        first = {rival: to_host(graph.run(inputs[rival])) for rival, graph in graphs.items()}
        samples = in_turn(graphs, inputs, options.rounds)
    reference = statistics.median(samples[REFERENCE]["cpu_s"])
    return {
        "family": family,
        "size": options.size,
        "graph": name,
        "open_s": open_s,
        "cpu_ratio": {r: round(statistics.median(found["cpu_s"]) / reference, 3) for r, found in samples.items()},
        "worst_cosine": {r: worst_cosine(first[r], first[REFERENCE]) for r in graphs if r != REFERENCE},
        "samples": samples,
    }


def upload(backend: Backend, arrays: Mapping[str, np.ndarray]) -> dict[str, Buffer]:
    return {name: backend.upload(array) for name, array in arrays.items()}


def to_host(outputs: Mapping[str, Buffer]) -> dict[str, np.ndarray]:
    return {name: buffer.to_host().copy() for name, buffer in outputs.items()}


def in_turn(
    graphs: Mapping[str, Graph], inputs: Mapping[str, Mapping[str, Buffer]], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds by the clock and of the processors for every call, A B C A B C ..."""
    samples: dict[str, dict[str, list[float]]] = {rival: {"wall_s": [], "cpu_s": []} for rival in graphs}
    for _ in range(rounds):
        for rival, graph in graphs.items():
            wall, cpu = perf_counter(), process_time()
            graph.run(inputs[rival])
            samples[rival]["cpu_s"].append(round(process_time() - cpu, 4))
            samples[rival]["wall_s"].append(round(perf_counter() - wall, 4))
    return samples


def worst_cosine(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """Of two runs' outputs, seen as vectors in float64."""
    cosines = []
    for name, wanted in expected.items():
        a, b = found[name].astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
        cosines.append(float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))))
    return round(min(cosines), 6)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
