"""Every graph at every precision through TensorRT-RTX's parser and builder, on the CPU, one process each.

    python benchmarks/graphs/rtx_gate.py --sizes small tiny full

TensorRT-RTX shares parser, validation and compiler front end with TensorRT and builds without a GPU, so this
shows that the graphs are ones it accepts. It is another product with kernels of its own: no time, size or
number here is TensorRT's. Own operators are built from their function bodies. Besides the form that `build` takes
there are others: attention written out in elementary nodes, sums in place of products in the bodies of our own
operators, and one token count, that to which the runtime fills calls up. The parser can take its process down, hence
one process each. The last line of output is the path of the JSON file.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from hyperseg_bench import measure
from hyperseg_export.engine.attention import attention_nodes, write_out
from hyperseg_export.engine.bodies import sum_products
from hyperseg_export.engine.network import add_profile, decompose_attention, parse
from hyperseg_export.engine.profiles import Profile, make_profiles
from hyperseg_export.families.family import RANDOM_SIZES
from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_runtime.backends.tensorrt import TensorRTBackend
from hyperseg_runtime.backends.tensorrt.logger import make_logger
from hyperseg_runtime.contracts.graph_spec import AxisRange, GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import EngineError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.reports.machine import installed

if TYPE_CHECKING:
    from hyperseg_export.model import SourceModel

ARCHITECTURES = ("SM89", "SM120")
TIMEOUT_S = 600
SEED = 0
TOKENS = "tokens"
KEY = ("family", "size", "graph", "precision", "profiles", "form")
"""Fields that tell rows of the result file apart."""


class Form(StrEnum):
    """What is built of a graph."""

    USUAL = "usual"
    WRITTEN_OUT = "written-out attention"
    FILLED_UP = "one token count"
    SUMMED = "sums in bodies"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    arguments.add_argument("--sizes", nargs="+", choices=RANDOM_SIZES, default=list(RANDOM_SIZES))
    arguments.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES))
    arguments.add_argument("--missing", action="store_true", help="Build only what the result file has no row of.")
    arguments.add_argument("--load", default="nothing else ran", help="What else the machine does; goes into the file.")
    child = ("ONNX", "SPEC", "PROFILES", "FAMILY", "FORM")
    arguments.add_argument("--child", nargs=len(child), metavar=child, help=argparse.SUPPRESS)
    arguments.add_argument(
        "--table", nargs=2, metavar=("FAMILY", "SIZE"), help="Print the stored results as a table and stop."
    )
    options = arguments.parse_args()
    if options.table:
        print(markdown(json.loads((measure.RESULTS / "rtx_gate.json").read_text()), *options.table))
        return
    if options.child:
        onnx, spec, profiles, family, form = options.child
        contract = GraphSpec.model_validate_json(Path(spec).read_text())
        print(json.dumps(build(Path(onnx), contract, int(profiles), options.architectures, family, Form(form))))
        return
    rows: list[dict[str, Any]] = []
    known = stored_keys() if options.missing else frozenset()
    for size in options.sizes:
        for family in options.families:
            with tempfile.TemporaryDirectory() as folder:
                model = EXPORT_FAMILIES[family].random.model(size, SEED)
                done = {key[2:] for key in known if key[:2] == (family, size)}
                for row in gate(model, Path(folder), options.architectures, done):
                    rows.append({"family": family, "size": size, **row})
                    print(line(rows[-1]), file=sys.stderr, flush=True)
                    store(rows, options)
    if not all(row["built"] for row in rows):
        sys.exit(1)


def store(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """As rows come: a run that is killed keeps what it has. Rows of before that were not built again stay."""
    environment = {**measure.environment(), "tensorrt-rtx": installed("tensorrt-rtx")}
    conditions = {
        "architectures": options.architectures,
        "profiles": "preset throughput; 1 profile is the first of the preset's",
        "load": options.load,
        "notes": {family: EXPORT_FAMILIES[family].random.notes for family in options.families},
    }
    kept = measure.kept_rows("rtx_gate", "rows", rows, KEY)
    measure.write_results("rtx_gate", {"environment": environment, "conditions": conditions, "rows": kept})


def stored_keys() -> frozenset[tuple[Any, ...]]:
    """Of the rows in the result file, in the order of `KEY`."""
    return frozenset(tuple(row[name] for name in KEY) for row in measure.kept_rows("rtx_gate", "rows", (), KEY))


def gate(
    model: "SourceModel", folder: Path, architectures: list[str], done: Collection[tuple[Any, ...]] = ()
) -> Iterator[dict[str, Any]]:
    """Export and build each graph in each precision and form; graphs with caches also with all their profiles.

    What is `done`, by the last fields of `KEY`, is not built again.

    The preset "mixed" needs no builds of its own: each of its graphs is one of those.
    """
    for precision in Precision:
        for path, spec in export_typed(model, precision, folder):
            hints = FAMILIES[model.family].profile_hints(spec)
            counts = sorted({1, len(make_profiles(spec, "throughput", hints))})
            usual, others = [(n, Form.USUAL) for n in counts], [(1, form) for form in other_forms(path, spec)]
            for profiles, form in usual + others:
                if (spec.name, precision.value, profiles, form) in done:
                    continue
                row = run_child(path, path.with_suffix(".json"), profiles, architectures, model.family, form)
                yield {"graph": spec.name, "precision": precision.value, "profiles": profiles, "form": form, **row}
            for file in path.parent.glob(f"{spec.name}.*"):
                file.unlink()


def other_forms(path: Path, spec: GraphSpec) -> list[Form]:
    """Those that differ from the usual one for this graph."""
    import onnx

    attends = any(attention_nodes(onnx.load(path, load_external_data=False)))
    fits = {
        Form.WRITTEN_OUT: attends,
        Form.FILLED_UP: TOKENS in spec.axis_ranges,
        Form.SUMMED: bool(spec.custom_ops),
    }
    return [form for form, fit in fits.items() if fit]


def export_typed(
    model: "SourceModel", precision: Precision, folder: Path, graphs: Collection[str] = ()
) -> Iterator[tuple[Path, GraphSpec]]:
    """ONNX files of the named graphs (default: all) in one precision, each with its contract beside it as .json."""
    from hyperseg_export.export import write_graph
    from hyperseg_export.precision.typed import choose_precisions, typed_model

    plan = choose_precisions(model.specs, precision)
    typed = typed_model(model, plan)
    target = folder / precision
    target.mkdir()
    for spec in typed.specs:
        if graphs and spec.name not in graphs:
            continue
        files, _ = write_graph(typed, spec, target, {}, plan.graphs[spec.name])
        path = target / files[0]
        path.with_suffix(".json").write_text(spec.model_dump_json())
        yield path, spec


def run_child(
    path: Path, spec: Path, profiles: int, architectures: list[str], family: str, form: Form = Form.USUAL
) -> dict[str, Any]:
    """Build in a process of its own; a crash is a result like any other."""
    command = [sys.executable, __file__, "--child", str(path), str(spec), str(profiles), family, form]
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


def build(
    path: Path, spec: GraphSpec, profile_count: int, architectures: list[str], family: str, form: Form
) -> dict[str, Any]:
    """Parse and build one graph for several architectures in one plan."""
    import tensorrt_rtx as trt

    start = perf_counter()
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    try:
        network = parse(trt, builder, logger, path, spec, rewritten(path, form))
    except EngineError as error:
        return {"built": False, "error": str(error)}
    decomposed, dequantized = decompose_attention(trt, network), dequantized_types(trt, network)
    config = builder.create_builder_config()
    config.num_compute_capabilities = len(architectures)
    for index, name in enumerate(architectures):
        config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
    for profile in make_profiles(spec, "throughput", FAMILIES[family].profile_hints(spec))[:profile_count]:
        add_profile(builder, config, spec, filled_up(profile) if form is Form.FILLED_UP else profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None or logger.messages:
        return {"built": False, "error": "; ".join(logger.messages) or "the builder returned nothing"}
    return {
        "built": True,
        "plan_bytes": plan.nbytes,
        "seconds": round(perf_counter() - start, 2),
        "peak_mb": round(peak_bytes() / 1e6),
        "decomposed_attention": len(decomposed),
        "dequantized": dequantized,
    }


def dequantized_types(trt: Any, network: Any) -> dict[str, int]:
    """Type -> how many tensors of it the parser found to be quantised, weights and activations."""
    layers = map(network.get_layer, range(network.num_layers))
    found = Counter(one.get_input(0).dtype.name for one in layers if one.type == trt.LayerType.DEQUANTIZE)
    return dict(found)


def rewritten(path: Path, form: Form) -> bytes | None:
    """The file's content as `build --attention written-out` or `build --no-plugins` makes it; None: as it is."""
    import onnx

    change = {Form.WRITTEN_OUT: write_out, Form.SUMMED: sum_products}.get(form)
    if change is None:
        return None
    model = onnx.load(path, load_external_data=False)
    change(model)
    content: bytes = model.SerializeToString()
    return content


def filled_up(profile: Profile) -> Profile:
    """For the one token count that typical calls are filled up to."""
    tokens, step = profile.axes[TOKENS], TensorRTBackend.token_step
    rows = min(-(-tokens.typical // step) * step, tokens.maximum)
    return Profile(profile.name, {**profile.axes, TOKENS: AxisRange(minimum=rows, typical=rows, maximum=rows)})


def peak_bytes() -> int:
    """Largest resident size since this program began; getrusage would count the process it was forked from."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(row.split()[1] for row in status.splitlines() if row.startswith("VmHWM")))


def markdown(content: dict[str, Any], family: str, size: str) -> str:
    """The rows of one size as a table: per precision megabytes of the plan and seconds to parse and build it."""
    lines = [
        "| graph | profiles | fp32 MB | s | fp16 MB | s | bf16 MB | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = {
        (r["graph"], r["profiles"], r["precision"]): r
        for r in content["rows"]
        if (r["family"], r["size"], r["form"]) == (family, size, Form.USUAL)
    }
    for graph, profiles in dict.fromkeys((graph, profiles) for graph, profiles, _ in rows):
        cells = [cell for precision in Precision for cell in cells_of(rows.get((graph, profiles, precision)))]
        lines.append(f"| `{graph}` | {profiles} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cells_of(row: dict[str, Any] | None) -> tuple[str, str]:
    if row is None:
        return "not measured", ""
    return (f"{row['plan_bytes'] / 1e6:.1f}", f"{row['seconds']:.1f}") if row["built"] else ("FAILED", "")


def line(row: dict[str, Any]) -> str:
    head = f"{row['family']} {row['size']:5} {row['graph']:14} {row['precision']} {row['profiles']} profile(s)"
    head += f" {row['form']}"
    if not row["built"]:
        return f"{head} FAILED: {row['error']}"
    return f"{head} {row['plan_bytes'] / 1e6:8.1f} MB in {row['seconds']:6.1f} s, peak {row['peak_mb']} MB"


if __name__ == "__main__":
    main()
