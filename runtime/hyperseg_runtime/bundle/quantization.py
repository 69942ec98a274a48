"""What a manifest says of graphs in fewer bits: how each was rounded, by what calibration, and how the bundle did at a
task before and after.
"""

from collections.abc import Collection, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hyperseg_runtime.contracts.quantization import Scheme
from hyperseg_runtime.errors import BundleError

NOT_GATED, PASSED, FAILED = "not gated", "passed", "FAILED"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RoundedEntry(_Entry):
    """One quantised graph.

    products   products with a rounded weight
    left_wide  layers that stay in the graph's precision, each with the reason
    time_ratio of the graph's time before on the machine that quantised it, ONNX Runtime; None: not measured
    """

    scheme: Scheme
    range_method: str | None
    smoothed: int = Field(ge=0)
    block: int | None
    products: int = Field(gt=0)
    left_wide: dict[str, str]
    time_ratio: float | None = Field(default=None, gt=0)


class CalibrationEntry(_Entry):
    """Real requests whose activations gave the ranges; `sha256` of what was found."""

    data_set: str
    split: str | None
    samples: int = Field(gt=0)
    calls: dict[str, int]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class MeasureEntry(_Entry):
    """One measure of the same items before and after; the drop in points of a hundred, with its 95 % interval.

    iou_to_wide   median IoU of each mask after with the one before, where there are masks
    """

    measure: str
    metric: str
    items: int = Field(gt=0)
    before: float
    after: float
    drop: float
    interval: tuple[float, float]
    iou_to_wide: float | None = None


class GateEntry(_Entry):
    """Task metrics of a bundle's graphs against those of the bundle they were made from.

    The first measure decides by what it shows: a drop within the budget, and no more than twice that at the upper end
    of its interval. The others may fail it, but need not prove it: none may show a drop beyond the budget.
    """

    data_set: str
    split: str | None
    budget: float = Field(gt=0)
    measures: tuple[MeasureEntry, ...] = Field(min_length=1)

    @property
    def failures(self) -> list[str]:
        """What was measured and should not have been; empty for a pass."""
        first, *others = self.measures
        failed = [first] if first.drop > self.budget or first.interval[1] > 2 * self.budget else []
        failed += [measure for measure in others if measure.interval[0] > self.budget]
        return [
            f"{one.measure} lost {one.drop:.2f} points of {one.metric} ({one.interval[0]:.2f} to "
            f"{one.interval[1]:.2f}) over {one.items} items, the budget is {self.budget:g}"
            for one in failed
        ]


class QuantizationEntry(_Entry):
    """`source_sha256` is that of the manifest of the bundle that was quantised; `kept` gives the reason for each graph
    that was not.
    """

    recipe: str
    source_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    kept: dict[str, str]
    calibration: CalibrationEntry | None
    gate: GateEntry | None

    @property
    def verdict(self) -> str:
        """PASSED, FAILED or NOT_GATED."""
        if self.gate is None:
            return NOT_GATED
        return FAILED if self.gate.failures else PASSED

    @model_validator(mode="after")
    def _measures_differ(self) -> Self:
        names = [measure.measure for measure in self.gate.measures] if self.gate else []
        if len(set(names)) != len(names):
            raise ValueError("a measure is listed twice")
        return self


def require_gated(entry: QuantizationEntry | None, rounded: Sequence[str], accepted: Collection[str]) -> None:
    """Raise BundleError where graphs of `rounded` did not pass a task metric and are not in `accepted`."""
    refused = [name for name in rounded if name not in accepted]
    if entry is None or entry.verdict == PASSED or not refused:
        return
    why = "; ".join(entry.gate.failures) if entry.gate else "no task metric was measured"
    options = " ".join(f"--accept-ungated {name}" for name in refused)
    raise BundleError(
        f"quantised graphs {', '.join(refused)} are {entry.verdict} ({why}); quantise with a data set that the weights "
        f"can be judged by, or accept them by name: {options}"
    )
