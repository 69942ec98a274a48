"""How a bundle was quantised, as tables and lines for people."""

from collections import Counter
from collections.abc import Iterator

from hyperseg_runtime import console
from hyperseg_runtime.bundle.manifest import GraphEntry, Manifest
from hyperseg_runtime.bundle.quantization import NOT_GATED, GateEntry, QuantizationEntry, RoundedEntry

COLUMNS = ("graph", "number format", "rounded", "left as they are", ">time", ">size")
MEASURE_COLUMNS = ("measure", "metric", ">items", ">before", ">after", ">points lost", "95 %", ">mask IoU to before")
NOT_MEASURED = "not measured"


def print_quantization(manifest: Manifest) -> None:
    """Nothing for a bundle that is not quantised."""
    entry = manifest.quantization
    if entry is None:
        return
    console.print_rows(f"Quantised by recipe {entry.recipe}", COLUMNS, graph_rows(manifest))
    console.out.print(f"calibration  {calibration_line(entry)}", markup=False)
    console.out.print(f"gate         {gate_line(entry)}", markup=False)
    if entry.gate is not None:
        console.print_rows(
            f"{entry.gate.data_set}: before and after, item by item", MEASURE_COLUMNS, measure_rows(entry.gate)
        )


def graph_rows(manifest: Manifest) -> list[tuple[str, ...]]:
    """A row of `COLUMNS` for each graph."""
    kept = manifest.quantization.kept if manifest.quantization else {}
    return [
        (
            graph.spec.name,
            graph.number_format,
            rounded_layers(graph.rounded) if graph.rounded else "",
            _left(graph.rounded.left_wide) if graph.rounded else kept.get(graph.spec.name, ""),
            _time(graph.rounded),
            f"{size_bytes(manifest, graph) / 1e6:,.1f} MB",
        )
        for graph in manifest.graphs
    ]


def size_bytes(manifest: Manifest, graph: GraphEntry) -> int:
    """Of a graph's own files; data that several share counts for each."""
    return sum(manifest.files[name].size_bytes for name in (graph.file, *graph.data_files))


def rounded_layers(rounded: RoundedEntry) -> str:
    if rounded.block is not None:
        return f"{rounded.products} products, blocks of up to {rounded.block}"
    if rounded.range_method is None:
        return f"{rounded.products} products, ranges by each call"
    smoothed = f", {rounded.smoothed} inputs smoothed" if rounded.smoothed else ""
    return f"{rounded.products} products, ranges by {rounded.range_method}{smoothed}"


def calibration_line(entry: QuantizationEntry) -> str:
    made = entry.calibration
    if made is None:
        return "none: no range was needed"
    split = f" ({made.split})" if made.split else ""
    return f"{made.samples} samples of {made.data_set}{split}, sha256 {made.sha256[:16]}..."


def gate_line(entry: QuantizationEntry) -> str:
    """One line that says whether the bundle still does its task, as it stands wherever the bundle is shown."""
    if entry.gate is None:
        return f"{NOT_GATED}: no task metric says what rounding costs"
    first = entry.gate.measures[0]
    low, high = first.interval
    return (
        f"{entry.verdict}: {first.drop:.2f} points of {first.metric} lost ({low:.2f} to {high:.2f}) over {first.items} "
        f"{first.measure} of {entry.gate.data_set}, budget {entry.gate.budget:g}"
    )


def measure_rows(gate: GateEntry) -> list[tuple[str, ...]]:
    return [
        (
            one.measure,
            one.metric,
            f"{one.items:,}",
            f"{one.before:.4f}",
            f"{one.after:.4f}",
            f"{one.drop:+.2f}",
            f"{one.interval[0]:+.2f} to {one.interval[1]:+.2f}",
            "" if one.iou_to_wide is None else f"{one.iou_to_wide:.4f}",
        )
        for one in gate.measures
    ]


def _time(rounded: RoundedEntry | None) -> str:
    if rounded is None:
        return ""
    return NOT_MEASURED if rounded.time_ratio is None else f"{rounded.time_ratio:.2f}"


def _left(reasons: dict[str, str]) -> str:
    """How many layers for which reason."""
    return "; ".join(_counted(reasons))


def _counted(reasons: dict[str, str]) -> Iterator[str]:
    return (f"{count}: {reason}" for reason, count in Counter(reasons.values()).items())
