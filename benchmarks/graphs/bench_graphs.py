"""Each graph in ONNX Runtime against the same module in eager PyTorch: time ratio and peak memory.

    python benchmarks/graphs/bench_graphs.py --sizes tiny full --rounds 5
    python benchmarks/graphs/bench_graphs.py --families unilseg

Weights are random, inputs are random: the arithmetic does not depend on them. Both engines use the same
threads and run in turn in one process; peak memory is taken from processes that hold one engine each, so
it includes that engine's libraries. One graph at a time; what a family's full size leaves out is noted
beside the row. The last line of output is the path of the JSON file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperseg_bench import measure
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.families import FAMILIES

if TYPE_CHECKING:
    from torch import nn

    from hyperseg_export.model import SourceModel

SIZES = ("tiny", "full")
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--graphs", nargs="+", default=[], help="Names of graphs; default: all.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--child", nargs=5, metavar=("TASK", "FAMILY", "SIZE", "GRAPH", "FOLDER"), help=argparse.SUPPRESS
    )
    parser.add_argument(
        "--table", nargs=2, metavar=("FAMILY", "SIZE"), help="Print the stored results as a table and stop."
    )
    options = parser.parse_args()
    if options.table:
        print(markdown(json.loads((measure.RESULTS / "graphs.json").read_text()), *options.table))
        return
    if options.child:
        task, family, size, graph, folder = options.child
        print(json.dumps(CHILDREN[task](Subject(family, size, graph, Path(folder)), options)))
        return
    rows = []
    for family in options.families:
        for size in options.sizes:
            for graph in [spec.name for spec in FAMILIES[family].graph_specs(FAMILIES[family].published)]:
                if not options.graphs or graph in options.graphs:
                    rows.append(measure_graph(family, size, graph, options))
                    print(line(rows[-1]), file=sys.stderr, flush=True)
    conditions = {"rounds": options.rounds, "threads": options.threads, "batch": 1, "precision": "fp32"}
    content = {
        "environment": measure.environment(),
        "conditions": conditions,
        "graphs": measure.kept_rows("graphs", "graphs", rows, ("family", "size", "graph")),
    }
    print(measure.write_results("graphs", content))


@dataclass(frozen=True)
class Subject:
    """One graph of one model of random weights, and the folder its file lies in."""

    family: str
    size: str
    graph: str
    folder: Path

    def model(self) -> "SourceModel":
        from hyperseg_export.families.registry import EXPORT_FAMILIES

        return EXPORT_FAMILIES[self.family].random.model(self.size, SEED)

    def module(self) -> "nn.Module":
        from hyperseg_export.parity.bundle import module_of

        return module_of(self.model(), self.graph)


def measure_graph(family: str, size: str, graph: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row: exported, timed and weighed, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(family, size, graph, Path(folder))
        results = {task: child(task, subject, options) for task in CHILDREN}
    times = results["time"]
    return {
        "family": family,
        "size": size,
        "graph": graph,
        "note": results["export"]["note"],
        "parameters": results["export"]["parameters"],
        "onnxruntime_ms": milliseconds(times["onnxruntime_s"]),
        "torch_ms": milliseconds(times["torch_s"]),
        "time_ratio": round(times["ratio"], 3),
        "onnxruntime_peak_mb": round(results["weigh_onnxruntime"]["peak_bytes"] / 1e6),
        "torch_peak_mb": round(results["weigh_torch"]["peak_bytes"] / 1e6),
        "export_s": results["export"]["seconds"],
        "export_peak_mb": results["export"]["peak_mb"],
        "samples": times,
    }


def milliseconds(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1000, 2)


def child(task: str, subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", task, subject.family, subject.size, subject.graph]
    command += [str(subject.folder)]
    command += ["--rounds", str(options.rounds), "--threads", str(options.threads)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def export(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    """Write the graph, its contract and example inputs."""
    from hyperseg_export.export import write_graph
    from hyperseg_export.families.registry import EXPORT_FAMILIES

    model = subject.model()
    spec = model.spec(subject.graph)
    start = perf_counter()
    _, facts = write_graph(model, spec, subject.folder, {})
    seconds, peak_bytes = perf_counter() - start, measure.peak_bytes()
    (subject.folder / "spec.json").write_text(spec.model_dump_json())
    for name, array in example_inputs(spec).items():
        np.save(subject.folder / f"{name}.npy", array)
    notes = EXPORT_FAMILIES[subject.family].random.notes
    return {
        "parameters": facts["parameters"],
        "seconds": round(seconds, 1),
        "peak_mb": round(peak_bytes / 1e6),
        "note": notes.get(subject.size, "") if spec.in_place else "",
    }


def time_both(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.set_num_threads(options.threads)
    module, inputs = subject.module(), load_inputs(subject.folder)
    tensors = [torch.from_numpy(array) for array in inputs.values()]
    opened, buffers = open_graph(subject.folder, inputs, options.threads)

    def eager() -> None:
        with torch.inference_mode():
            module(*tensors)

    ours, theirs = measure.alternate((lambda: opened.run(buffers), eager), options.rounds)
    return {"onnxruntime_s": ours, "torch_s": theirs, "ratio": measure.ratio(ours, theirs)}


def weigh_onnxruntime(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    opened, buffers = open_graph(subject.folder, load_inputs(subject.folder), options.threads)
    opened.run(buffers)
    return {"peak_bytes": measure.peak_bytes()}


def weigh_torch(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.set_num_threads(options.threads)
    module = subject.module()
    with torch.inference_mode():
        module(*(torch.from_numpy(array) for array in load_inputs(subject.folder).values()))
    return {"peak_bytes": measure.peak_bytes()}


CHILDREN = {
    "export": export,
    "time": time_both,
    "weigh_onnxruntime": weigh_onnxruntime,
    "weigh_torch": weigh_torch,
}


def example_inputs(spec: GraphSpec) -> dict[str, np.ndarray]:
    """Random values of the sizes an engine is tuned for; numbers count up, ranges take in everything."""
    random = np.random.default_rng(SEED)
    sizes = {axis: limits.typical for axis, limits in spec.axis_ranges.items()}
    inputs: dict[str, np.ndarray] = {}
    for tensor in spec.inputs:
        shape = list(tensor.shape(sizes))
        if tensor.name in ("position_ids", "slot_numbers"):
            inputs[tensor.name] = np.broadcast_to(np.arange(shape[-1]), shape).copy()
        elif tensor.name in ("attended_slots", "condition_spans"):
            inputs[tensor.name] = np.broadcast_to([0, sizes["tokens"]], shape).astype(np.int64)
        elif tensor.dtype == "float32":
            inputs[tensor.name] = random.standard_normal(shape, np.float32)
        else:
            inputs[tensor.name] = np.full(shape, tensor.dtype == "bool", tensor.dtype)
    return inputs


def load_spec(folder: Path) -> GraphSpec:
    return GraphSpec.model_validate_json((folder / "spec.json").read_text())


def load_inputs(folder: Path) -> dict[str, np.ndarray]:
    return {name: np.load(folder / f"{name}.npy") for name in load_spec(folder).input_names()}


def open_graph(folder: Path, inputs: dict[str, np.ndarray], threads: int) -> tuple[Any, dict[str, Any]]:
    backend = OnnxRuntimeBackend(threads)
    spec = load_spec(folder)
    opened = backend.open(spec, folder / "graphs" / f"{spec.name}.onnx")
    return opened, {name: backend.upload(array) for name, array in inputs.items()}


def markdown(content: dict[str, Any], family: str, size: str) -> str:
    """The rows of one size as the table that the READMEs show."""
    lines = [
        "| graph | parameters | ONNX Runtime ms | torch eager ms | time ratio | peak memory MB | torch MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in content["graphs"]:
        if (row["family"], row["size"]) == (family, size):
            note = f" ({row['note']})" if row["note"] else ""
            lines.append(
                f"| `{row['graph']}`{note} | {row['parameters']:,} | {row['onnxruntime_ms']:,} | {row['torch_ms']:,} "
                f"| {row['time_ratio']:.2f} | {row['onnxruntime_peak_mb']:,} | {row['torch_peak_mb']:,} |"
            )
    return "\n".join(lines)


def line(row: dict[str, Any]) -> str:
    head = f"{row['family']} {row['size']:5} {row['graph']:14}"
    return (
        f"{head} {row['onnxruntime_ms']:10.2f} ms, torch {row['torch_ms']:10.2f} ms, "
        f"ratio {row['time_ratio']:.2f}; peak {row['onnxruntime_peak_mb']} MB, torch {row['torch_peak_mb']} MB"
    )


if __name__ == "__main__":
    main()
