"""Charts for pages, drawn by Matplotlib as SVG (bytes), the same bytes for the same numbers."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH_IN = 7.0
ROW_IN = 0.28
COLOURS = ("#44aa77", "#3366bb", "#cc7722", "#aa4488", "#777777", "#22aabb")
STYLE = {
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "text.parse_math": False,  # names hold what users wrote
    "svg.fonttype": "none",
    "svg.hashsalt": "hyperseg-trt",
}
Output = list[bytes]


def histogram(groups: Mapping[str, Sequence[float]], about: str, bins: int = 20) -> bytes:
    """How values in 0..1 are spread, for each group."""
    with _drawn(2.6) as (axes, output):
        axes.hist(list(groups.values()), bins=bins, range=(0, 1), label=list(groups))
        axes.set_xlabel(about)
        axes.set_ylabel("items")
        axes.legend(frameon=False)
    return output[0]


def pairs(before: Sequence[float], after: Sequence[float], names: tuple[str, str]) -> bytes:
    """One dot for each pair of values in 0..1; above the line the second is larger."""
    with _drawn(4.2, width_in=4.6) as (axes, output):
        axes.plot((0, 1), (0, 1), color="#bbbbbb", linewidth=1)
        axes.scatter(before, after, s=9, alpha=0.6)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel=names[0], ylabel=names[1])
    return output[0]


def intervals(values: Mapping[str, tuple[float, float, float]], unit: str) -> bytes:
    """A bar for each name's (value, low, high) with the interval drawn on it, in order from the top."""
    with _drawn(0.7 + ROW_IN * max(1, len(values))) as (axes, output):
        middles = [value for value, _, _ in values.values()]
        around = [
            [value - low for value, low, _ in values.values()],
            [high - value for value, _, high in values.values()],
        ]
        drawn = axes.barh(range(len(values)), middles, xerr=around, ecolor="#333333", capsize=3)
        axes.bar_label(drawn, labels=[f"{value:.3g}" for value in middles], padding=9)
        axes.set_yticks(range(len(values)), list(values))
        axes.invert_yaxis()
        axes.set_xlabel(unit)
    return output[0]


def waterfall(spans: Sequence[tuple[str, float, float, bool]], unit: str) -> bytes:
    """A bar for each span (name, start, length, emphasised) at its place in time, in order from the top."""
    with _drawn(0.7 + ROW_IN * max(1, len(spans))) as (axes, output):
        names, starts, lengths, strong = zip(*spans, strict=True) if spans else ((), (), (), ())
        colours = [COLOURS[1] if emphasised else COLOURS[4] for emphasised in strong]
        drawn = axes.barh(range(len(spans)), lengths, left=starts, color=colours)
        axes.bar_label(drawn, labels=[f"{length:.3g}" for length in lengths], padding=3)
        axes.set_yticks(range(len(spans)), names)
        axes.invert_yaxis()
        axes.set_xlabel(unit)
    return output[0]


@contextmanager
def _drawn(height_in: float, width_in: float = WIDTH_IN) -> Iterator[tuple[Axes, Output]]:
    """Axes to draw on; the drawing is in the list afterwards."""
    output: Output = []
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        made = Figure(figsize=(width_in, height_in), layout="constrained")
        yield made.add_subplot(), output
        file = io.BytesIO()
        made.savefig(file, format="svg", metadata={"Date": None})
        output.append(file.getvalue())
