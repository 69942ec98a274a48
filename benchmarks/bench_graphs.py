"""Each graph in ONNX Runtime against the same module in eager PyTorch: time ratio and peak memory.

    python benchmarks/bench_graphs.py --sizes tiny full --rounds 5

Weights are random, inputs are random: the arithmetic does not depend on them. Both engines use the same
threads and run in turn in one process; peak memory is taken from processes that hold one engine each, so
it includes that engine's libraries. One graph at a time: the full language model is measured with 2 of its
32 layers, everything else whole. The last line of output is the path of the JSON file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import measure
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.contracts.graph_spec import GraphSpec

if TYPE_CHECKING:
    from torch import nn

    from hyperseg_export.model import PlannedModel

GRAPHS = ("image_encoder", "clip_encoder", "fvp", "llm", "lm_head", "pixel_decoder", "mask_decoder")
FULL_LAYERS = 2
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=("tiny", "full"), default=["tiny", "full"])
    parser.add_argument("--graphs", nargs="+", choices=GRAPHS, default=list(GRAPHS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--child", nargs=4, metavar=("TASK", "SIZE", "GRAPH", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--table", choices=("tiny", "full"), help="Print the stored results as a table and stop.")
    options = parser.parse_args()
    if options.table:
        print(markdown(json.loads((measure.RESULTS / "graphs.json").read_text()), options.table))
        return
    if options.child:
        task, size, graph, folder = options.child
        print(json.dumps(CHILDREN[task](size, graph, Path(folder), options)))
        return
    rows = []
    for size in options.sizes:
        for graph in options.graphs:
            rows.append(measure_graph(size, graph, options))
            print(line(rows[-1]), file=sys.stderr, flush=True)
    conditions = {"rounds": options.rounds, "threads": options.threads, "batch": 1, "precision": "fp32"}
    content = {"environment": measure.environment(), "conditions": conditions, "graphs": rows}
    print(measure.write_results("graphs", content))


def measure_graph(size: str, graph: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row: exported, timed and weighed, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        results = {task: child(task, size, graph, folder, options) for task in CHILDREN}
    times = results["time"]
    return {
        "size": size,
        "graph": graph,
        "note": f"{FULL_LAYERS} of 32 layers" if (size, graph) == ("full", "llm") else "",
        "parameters": results["export"]["parameters"],
        "onnxruntime_ms": milliseconds(times["onnxruntime_s"]),
        "torch_ms": milliseconds(times["torch_s"]),
        "time_ratio": round(times["ratio"], 3),
        "onnxruntime_peak_mb": round(results["weigh_onnxruntime"]["peak_bytes"] / 1e6),
        "torch_peak_mb": round(results["weigh_torch"]["peak_bytes"] / 1e6),
        "samples": times,
    }


def milliseconds(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1000, 2)


def child(task: str, size: str, graph: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", task, size, graph, folder]
    command += ["--rounds", str(options.rounds), "--threads", str(options.threads)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def export(size: str, graph: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Write the graph, its contract and example inputs."""
    from hyperseg_export.export import write_graph

    model = planned(size)
    spec = next(spec for spec in model.specs if spec.name == graph)
    _, facts = write_graph(model, spec, folder, {})
    (folder / "spec.json").write_text(spec.model_dump_json())
    for name, array in example_inputs(spec).items():
        np.save(folder / f"{name}.npy", array)
    return {"parameters": facts["parameters"]}


def time_both(size: str, graph: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.set_num_threads(options.threads)
    module, inputs = module_of(size, graph), load_inputs(folder)
    tensors = [torch.from_numpy(array) for array in inputs.values()]
    opened, buffers = open_graph(folder, inputs, options.threads)

    def eager() -> None:
        with torch.inference_mode():
            module(*tensors)

    ours, theirs = measure.alternate((lambda: opened.run(buffers), eager), options.rounds)
    return {"onnxruntime_s": ours, "torch_s": theirs, "ratio": measure.ratio(ours, theirs)}


def weigh_onnxruntime(size: str, graph: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    opened, buffers = open_graph(folder, load_inputs(folder), options.threads)
    opened.run(buffers)
    return {"peak_bytes": measure.peak_bytes()}


def weigh_torch(size: str, graph: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.set_num_threads(options.threads)
    module = module_of(size, graph)
    with torch.inference_mode():
        module(*(torch.from_numpy(array) for array in load_inputs(folder).values()))
    return {"peak_bytes": measure.peak_bytes()}


CHILDREN = {
    "export": export,
    "time": time_both,
    "weigh_onnxruntime": weigh_onnxruntime,
    "weigh_torch": weigh_torch,
}


def planned(size: str) -> "PlannedModel":
    """A model of random weights that are made when asked for."""
    from hyperseg_export.families.hyperseg.layout import Sizes
    from hyperseg_export.families.hyperseg.plan import plan
    from hyperseg_export.families.hyperseg.tiny import TINY, random_checkpoint
    from hyperseg_export.model import plan_model

    sizes = TINY if size == "tiny" else replace(Sizes(), layers=FULL_LAYERS)
    source = random_checkpoint(sizes, SEED)
    ids = {"seg": sizes.token_rows - 1, "eos": 0}
    return plan_model("hyperseg", plan(sizes.config(), source.shapes), source, ids)


def module_of(size: str, graph: str) -> "nn.Module":
    from hyperseg_export.checkpoint.weights import materialise

    model = planned(size)
    module = model.module(graph)
    return materialise(module, model.weights.of_module(module))


def example_inputs(spec: GraphSpec) -> dict[str, np.ndarray]:
    """Random values of the sizes an engine is tuned for; positions count up, masks let everything pass."""
    random = np.random.default_rng(SEED)
    sizes = {axis: limits.typical for axis, limits in spec.axis_ranges.items()}
    inputs: dict[str, np.ndarray] = {}
    for tensor in spec.inputs:
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in tensor.axes]
        if tensor.name == "position_ids":
            inputs[tensor.name] = np.broadcast_to(np.arange(shape[1]), shape).copy()
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


def markdown(content: dict[str, Any], size: str) -> str:
    """The rows of one size as the table that the READMEs show."""
    lines = [
        "| graph | parameters | ONNX Runtime ms | torch eager ms | time ratio | peak memory MB | torch MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in content["graphs"]:
        if row["size"] == size:
            note = f" ({row['note']})" if row["note"] else ""
            lines.append(
                f"| `{row['graph']}`{note} | {row['parameters']:,} | {row['onnxruntime_ms']:,} | {row['torch_ms']:,} "
                f"| {row['time_ratio']:.2f} | {row['onnxruntime_peak_mb']:,} | {row['torch_peak_mb']:,} |"
            )
    return "\n".join(lines)


def line(row: dict[str, Any]) -> str:
    return (
        f"{row['size']:5} {row['graph']:14} {row['onnxruntime_ms']:10.2f} ms, torch {row['torch_ms']:10.2f} ms, "
        f"ratio {row['time_ratio']:.2f}; peak {row['onnxruntime_peak_mb']} MB, torch {row['torch_peak_mb']} MB"
    )


if __name__ == "__main__":
    main()
