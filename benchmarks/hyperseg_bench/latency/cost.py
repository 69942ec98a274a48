"""What a call of a graph asks of a machine at least, and how long that takes at the machine's peaks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

from hyperseg_runtime.errors import EnvironmentMissingError

COSTS = "hyperseg_trt.costs"
"""Entry points of packages that can read an ONNX file: `CostOf`."""


@dataclass(frozen=True)
class Cost:
    """Work that no implementation of a graph avoids.

    flops  element type -> floating point operations of the products and convolutions (2 for a multiply and an add)
    bytes  weights, inputs and outputs, each moved once
    """

    flops: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        types = dict.fromkeys((*self.flops, *other.flops))
        flops = {name: self.flops.get(name, 0) + other.flops.get(name, 0) for name in types}
        return Cost(flops, self.bytes + other.bytes)


CostOf = Callable[[Path, Mapping[str, int]], Cost]
"""An ONNX file and the sizes of its named axes -> the cost of such a call."""


@dataclass(frozen=True)
class Peaks:
    """What a machine reached in a short probe: operations a second by element type, bytes a second of a copy."""

    flops_per_s: Mapping[str, float]
    bytes_per_s: float

    def best(self, other: "Peaks") -> "Peaks":
        """What was reached in either probe: whatever else ran made one of them slower, and none quicker."""
        types = dict.fromkeys((*self.flops_per_s, *other.flops_per_s))
        flops = {name: max(peaks.flops_per_s.get(name, 0.0) for peaks in (self, other)) for name in types}
        return Peaks(flops, max(self.bytes_per_s, other.bytes_per_s))

    def floor(self, costs: Sequence[Cost]) -> "Floor | str":
        """Of calls one after another; or why it is not known: a type whose peak was not measured."""
        compute_ms = memory_ms = total_ms = 0.0
        for cost in costs:
            unknown = [name for name in cost.flops if name not in self.flops_per_s]
            if unknown:
                return f"the peak for {', '.join(unknown)} was not measured"
            compute = 1000 * sum(count / self.flops_per_s[name] for name, count in cost.flops.items())
            memory = 1000 * cost.bytes / self.bytes_per_s
            compute_ms, memory_ms, total_ms = compute_ms + compute, memory_ms + memory, total_ms + max(compute, memory)
        return Floor(total_ms, "compute" if compute_ms >= memory_ms else "memory")


@dataclass(frozen=True)
class Floor:
    """The shortest time that the peaks allow, and what bounds it."""

    ms: float
    bound: str


def cost_counter() -> CostOf:
    """The one that is installed. Raises EnvironmentMissingError where there is none or it lacks a package."""
    entries = sorted(entry_points(group=COSTS))
    if not entries:
        raise EnvironmentMissingError(
            "no package that counts the cost of a graph; run: pip install 'hyperseg-trt[export]'"
        )
    try:
        count: CostOf = entries[0].load()
    except ImportError as error:
        raise EnvironmentMissingError(f"{error.name} is missing; run: pip install 'hyperseg-trt[export]'") from error
    return count
