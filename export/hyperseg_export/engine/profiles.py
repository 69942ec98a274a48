"""Which sizes an engine is tuned for, taken from the GraphSpec."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hyperseg_runtime.contracts.graph_spec import AxisRange, GraphSpec, TensorSpec
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.family import NO_HINTS, ProfileHints

BATCH = "batch"

Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Smallest, typical and largest shape of one input."""


@dataclass(frozen=True)
class Profile:
    """One optimization profile: a range for every named axis of a graph."""

    name: str
    axes: Mapping[str, AxisRange]

    def shapes(self, tensor: TensorSpec) -> Shapes:
        return (
            tensor.shape({name: limits.minimum for name, limits in self.axes.items()}),
            tensor.shape({name: limits.typical for name, limits in self.axes.items()}),
            tensor.shape({name: limits.maximum for name, limits in self.axes.items()}),
        )


Axes = dict[str, AxisRange]


def _latency(axes: Axes) -> Axes:
    return {**axes, BATCH: AxisRange(minimum=1, typical=1, maximum=1)}


def _throughput(axes: Axes) -> Axes:
    batch = axes[BATCH]
    return {**axes, BATCH: AxisRange(minimum=batch.minimum, typical=batch.maximum, maximum=batch.maximum)}


PRESETS: Mapping[str, Callable[[Axes], Axes]] = {"latency": _latency, "throughput": _throughput}


def make_profiles(spec: GraphSpec, preset: str, hints: ProfileHints = NO_HINTS) -> tuple[Profile, ...]:
    """The profiles of a graph: one for each part that the family's hints split its sizes into.

    `preset` is latency, throughput, or another use that the hints name: latency where they say nothing of this graph.
    """
    base = PRESETS.get(preset, _latency)(dict(spec.axis_ranges))
    axes = {**base, **hints.presets.get(preset, {})}
    if not hints.split:
        return (Profile(preset, axes),)
    return tuple(Profile(name, {**axes, **changed}) for name, changed in hints.split.items())


def require_known(preset: str, hints: Iterable[ProfileHints]) -> None:
    """Raises InputError for a preset that neither we nor the family know."""
    known = dict.fromkeys([*PRESETS, *(name for graph in hints for name in graph.presets)])
    if preset not in known:
        raise InputError(f"unknown profile preset {preset!r}; choose {', '.join(known)}")
