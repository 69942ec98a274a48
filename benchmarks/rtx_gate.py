"""Every graph at every precision through TensorRT-RTX's parser and builder, on the CPU, one process each.

    python benchmarks/rtx_gate.py --sizes small tiny full

TensorRT-RTX shares parser, validation and compiler front end with TensorRT and builds without a GPU, so this
shows that the graphs are ones it accepts. It is another product with kernels of its own: no time, size or
number here is TensorRT's. Own operators are built from their function bodies. The parser can take its process
down, hence one process each. The last line of output is the path of the JSON file.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import measure
from hyperseg_export.engine.network import add_profile, decompose_attention, parse
from hyperseg_export.engine.profiles import make_profiles
from hyperseg_runtime.backends.tensorrt.logger import make_logger
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import EngineError

if TYPE_CHECKING:
    from hyperseg_export.families.hyperseg.layout import Sizes
    from hyperseg_export.model import PlannedModel

ARCHITECTURES = ("SM89", "SM120")
SIZES = ("small", "tiny", "full")
TIMEOUT_S = 600
SEED = 0


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    arguments.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES))
    arguments.add_argument("--load", default="nothing else ran", help="What else the machine does; goes into the file.")
    arguments.add_argument("--child", nargs=3, metavar=("ONNX", "SPEC", "PROFILES"), help=argparse.SUPPRESS)
    arguments.add_argument("--table", choices=SIZES, help="Print the stored results as a table and stop.")
    options = arguments.parse_args()
    if options.table:
        print(markdown(json.loads((measure.RESULTS / "rtx_gate.json").read_text()), options.table))
        return
    if options.child:
        onnx, spec, profiles = options.child
        contract = GraphSpec.model_validate_json(Path(spec).read_text())
        print(json.dumps(build(Path(onnx), contract, int(profiles), options.architectures)))
        return
    rows = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            for row in gate(planned(size), Path(folder), options.architectures):
                rows.append({"size": size, **row})
                print(line(rows[-1]), file=sys.stderr, flush=True)
    environment = {**measure.environment(), "tensorrt-rtx": measure.installed("tensorrt-rtx")}
    conditions = {
        "architectures": options.architectures,
        "profiles": "preset throughput; 1 profile is the first of the preset's",
        "load": options.load,
        "layers": "full: 2 of 32 of the language model, everything else whole",
    }
    content = {"environment": environment, "conditions": conditions, "rows": rows}
    print(measure.write_results("rtx_gate", content))
    if not all(row["built"] for row in rows):
        sys.exit(1)


def gate(model: "PlannedModel", folder: Path, architectures: list[str]) -> Iterator[dict[str, Any]]:
    """Export and build each graph in each precision; graphs with caches also with all their profiles.

    The preset "mixed" needs no builds of its own: each of its graphs is one of those.
    """
    for precision in Precision:
        for path, spec in export_typed(model, precision, folder):
            counts = sorted({1, len(make_profiles(spec, "throughput"))})
            for profiles in counts:
                row = run_child(path, path.with_suffix(".json"), profiles, architectures)
                yield {"graph": spec.name, "precision": precision.value, "profiles": profiles, **row}
            for file in path.parent.glob(f"{spec.name}.*"):
                file.unlink()


def export_typed(
    model: "PlannedModel", precision: Precision, folder: Path, graphs: Collection[str] = ()
) -> Iterator[tuple[Path, GraphSpec]]:
    """ONNX files of the named graphs (default: all) in one precision, each with its contract beside it as .json."""
    from hyperseg_export.export import write_graph
    from hyperseg_export.precision.typed import make_plan, typed_model

    typed = typed_model(model, make_plan(model.specs, precision))
    target = folder / precision
    target.mkdir()
    for spec in typed.specs:
        if graphs and spec.name not in graphs:
            continue
        files, _ = write_graph(typed, spec, target, {}, precision)
        path = target / files[0]
        path.with_suffix(".json").write_text(spec.model_dump_json())
        yield path, spec


def run_child(path: Path, spec: Path, profiles: int, architectures: list[str]) -> dict[str, Any]:
    """Build in a process of its own; a crash is a result like any other."""
    command = [sys.executable, __file__, "--child", str(path), str(spec), str(profiles)]
    command += ["--architectures", *architectures]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {"built": False, "error": f"took more than {TIMEOUT_S} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return {"built": False, "error": f"the process ended with {done.returncode}: {last}"}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def build(path: Path, spec: GraphSpec, profile_count: int, architectures: list[str]) -> dict[str, Any]:
    """Parse and build one graph for several architectures in one plan."""
    import tensorrt_rtx as trt

    start = perf_counter()
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    try:
        network = parse(trt, builder, logger, path, spec)
    except EngineError as error:
        return {"built": False, "error": str(error)}
    decomposed = decompose_attention(trt, network)
    config = builder.create_builder_config()
    config.num_compute_capabilities = len(architectures)
    for index, name in enumerate(architectures):
        config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
    for profile in make_profiles(spec, "throughput")[:profile_count]:
        add_profile(builder, config, spec, profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None or logger.messages:
        return {"built": False, "error": "; ".join(logger.messages) or "the builder returned nothing"}
    return {
        "built": True,
        "plan_bytes": plan.nbytes,
        "seconds": round(perf_counter() - start, 2),
        "peak_mb": round(peak_bytes() / 1e6),
        "decomposed_attention": len(decomposed),
    }


def peak_bytes() -> int:
    """Largest resident size since this program began; getrusage would count the process it was forked from."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(row.split()[1] for row in status.splitlines() if row.startswith("VmHWM")))


def planned(size: str) -> "PlannedModel":
    """A model of random weights that are made when asked for."""
    from hyperseg_export.families.hyperseg.plan import plan
    from hyperseg_export.families.hyperseg.tiny import random_checkpoint
    from hyperseg_export.model import plan_model

    sizes = sizes_of(size)
    source = random_checkpoint(sizes, SEED)
    ids = {"seg": sizes.token_rows - 1, "eos": 0}
    return plan_model("hyperseg", plan(sizes.config(), source.shapes), source, ids)


def sizes_of(size: str) -> "Sizes":
    """Head widths are multiples of 8 from 16 on, as in the published model: others have no fused bf16 kernel."""
    from hyperseg_export.families.hyperseg.layout import Sizes
    from hyperseg_export.families.hyperseg.tiny import TINY

    if size == "full":
        return replace(Sizes(), layers=2)
    tiny = replace(TINY, heads=5, clip_heads=3)
    if size == "tiny":
        return tiny
    return replace(tiny, image_px=64, layers=1, clip_layers=2, swin_depths=(1, 1, 1, 1), mask_layers=1, pixel_layers=1)


def markdown(content: dict[str, Any], size: str) -> str:
    """The rows of one size as a table: per precision megabytes of the plan and seconds to parse and build it."""
    lines = [
        "| graph | profiles | fp32 MB | s | fp16 MB | s | bf16 MB | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = {(r["graph"], r["profiles"], r["precision"]): r for r in content["rows"] if r["size"] == size}
    for graph, profiles in dict.fromkeys((graph, profiles) for graph, profiles, _ in rows):
        cells = [cell for precision in Precision for cell in cells_of(rows.get((graph, profiles, precision)))]
        lines.append(f"| `{graph}` | {profiles} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cells_of(row: dict[str, Any] | None) -> tuple[str, str]:
    if row is None:
        return "not measured", ""
    return (f"{row['plan_bytes'] / 1e6:.1f}", f"{row['seconds']:.1f}") if row["built"] else ("FAILED", "")


def line(row: dict[str, Any]) -> str:
    head = f"{row['size']:5} {row['graph']:14} {row['precision']} {row['profiles']} profile(s)"
    if not row["built"]:
        return f"{head} FAILED: {row['error']}"
    return f"{head} {row['plan_bytes'] / 1e6:8.1f} MB in {row['seconds']:6.1f} s, peak {row['peak_mb']} MB"


if __name__ == "__main__":
    main()
