"""Whole requests of a family at its published widths: export, one expression, the next one; against eager PyTorch.

    python benchmarks/graphs/bench_requests.py --family unilseg --size full --rounds 5

Weights are random: the arithmetic does not depend on them. Both rivals run the runtime's own code, one with the
bundle's graphs in ONNX Runtime, the other with the modules that they were exported from; they take turns in one
process, with the same threads. "Next" asks something else about the same image. The last line of output is the path
of the JSON file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

from hyperseg_bench import measure
from hyperseg_runtime.contracts.requests import Expressions
from hyperseg_runtime.families import FAMILIES

SEED = 0
RESULTS = "requests"
FIRST, NEXT = Expressions(("the cup on the saucer",)), Expressions(("the table behind it",))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=FAMILIES, default="unilseg")
    parser.add_argument("--size", default="full")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--load", default="nothing else ran", help="What else the machine does; goes into the file.")
    parser.add_argument("--child", nargs=2, metavar=("TASK", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task, folder = options.child
        print(json.dumps(CHILDREN[task](Path(folder), options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        results = {task: child(task, folder, options) for task in CHILDREN}
    conditions = {"rounds": options.rounds, "threads": options.threads, "load": options.load, "precision": "fp32"}
    row = {"family": options.family, "size": options.size, **results["export"], **results["ask"]}
    rows = measure.kept_rows(RESULTS, "rows", [{**row, "conditions": conditions}], ("family", "size"))
    content = {"environment": measure.environment(), "rows": rows}
    print(measure.write_results(RESULTS, content))


def child(task: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", task, folder, "--family", options.family, "--size", options.size]
    command += ["--rounds", str(options.rounds), "--threads", str(options.threads)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    print(f"{task}: {result}", file=sys.stderr, flush=True)
    return result


def export(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A checkpoint of random weights to a bundle; parity is not measured, its time would not be the export's."""
    from hyperseg_export.export import ExportOptions, export_bundle
    from hyperseg_export.families.registry import EXPORT_FAMILIES

    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    EXPORT_FAMILIES[options.family].random.write(checkpoint, options.size, SEED)
    start = perf_counter()
    manifest = export_bundle(checkpoint, folder / "bundle", ExportOptions(measure_parity=False))
    return {
        "export_s": round(perf_counter() - start, 1),
        "export_peak_mb": round(measure.peak_bytes() / 1e6),
        "bundle_mb": round(manifest.size_bytes / 1e6),
        "parameters": sum(graph.parameters for graph in manifest.graphs),
    }


def ask(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a first and a next expression, by both rivals."""
    import torch

    from hyperseg_export.opening import open_checkpoint
    from hyperseg_export.parity.bundle import module_of
    from hyperseg_export.parity.module_graph import ModuleGraph
    from hyperseg_export.samples import sample_images
    from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
    from hyperseg_runtime.bundle.opening import Bundle
    from hyperseg_runtime.images.reading import load_image
    from hyperseg_runtime.session.pipeline import OpenedGraphs

    torch.set_num_threads(options.threads)
    family, bundle = FAMILIES[options.family], Bundle.open(folder / "bundle")
    source, backend = open_checkpoint(folder / "checkpoint").model, OnnxRuntimeBackend(options.threads)
    eager = {spec.name: ModuleGraph(spec, module_of(source, spec.name), backend) for spec in source.specs}
    pixels = load_image(sample_images()[0])
    times: dict[str, list[float]] = {}
    rivals = [family.open_model(bundle, graphs, backend) for graphs in (OpenedGraphs(bundle, backend), eager)]
    for name, request in (("first", FIRST), ("next", NEXT)):
        samples = measure.alternate([asker(family, model, pixels, request, name) for model in rivals], options.rounds)
        times |= {f"onnxruntime_{name}": samples[0], f"torch_{name}": samples[1]}
    medians = {f"{name}_ms": round(statistics.median(samples) * 1000, 1) for name, samples in times.items()}
    return {
        **medians,
        "ratio_first": round(measure.ratio(times["onnxruntime_first"], times["torch_first"]), 3),
        "ratio_next": round(measure.ratio(times["onnxruntime_next"], times["torch_next"]), 3),
        "next_of_first": round(medians["onnxruntime_next_ms"] / medians["onnxruntime_first_ms"], 3),
        "peak_mb_both": round(measure.peak_bytes() / 1e6),
        "samples": times,
    }


def asker(family: Any, model: Any, pixels: Any, request: Expressions, name: str) -> Callable[[], object]:
    """Asks about an image never seen, or about the one that was asked about before."""
    asked = family.with_task(request)

    @cache
    def seen() -> Any:
        state = model.open(pixels)
        model.segment(state, family.with_task(FIRST))
        return state

    return lambda: model.segment(model.open(pixels) if name == "first" else seen(), asked)


CHILDREN = {"export": export, "ask": ask}


def markdown() -> str:
    """The stored results as the table of the README."""
    content = json.loads((measure.RESULTS / f"{RESULTS}.json").read_text())
    lines = [
        "| family | export s | peak MB | bundle MB | expression | ONNX Runtime ms | torch eager ms | time ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        title = FAMILIES[row["family"]].title + ("" if row["size"] == "full" else f" ({row['size']})")
        facts = f"{row['export_s']} | {row['export_peak_mb']:,} | {row['bundle_mb']:,}"
        for name in ("first", "next"):
            times = f"{row[f'onnxruntime_{name}_ms']:,} | {row[f'torch_{name}_ms']:,} | {row[f'ratio_{name}']:.2f}"
            lines.append(f"| {title} | {facts} | {name} | {times} |")
            title, facts = "", " | | "
    return "\n".join(lines)


if __name__ == "__main__":
    main()
