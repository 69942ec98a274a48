"""Which sizes an engine is tuned for, taken from the GraphSpec."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hyperseg_runtime.contracts.graph_spec import AxisRange, GraphSpec, TensorSpec
from hyperseg_runtime.errors import InputError

BATCH, TOKENS, MEMORY = "batch", "tokens", "memory_rows"
SUFFIX_TOKENS = 256
"""Longest part of a prompt after the image: 100 mask queries, template and expression take 130 to 190."""

Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Smallest, typical and largest shape of one input."""


@dataclass(frozen=True)
class Profile:
    """One optimization profile: a range for every named axis of a graph."""

    name: str
    axes: Mapping[str, AxisRange]

    def shapes(self, tensor: TensorSpec) -> Shapes:
        ranges = [self.axes[axis] if isinstance(axis, str) else None for axis in tensor.axes]
        sizes = [axis if isinstance(axis, int) else 0 for axis in tensor.axes]
        return (
            tuple(r.minimum if r else size for r, size in zip(ranges, sizes, strict=True)),
            tuple(r.typical if r else size for r, size in zip(ranges, sizes, strict=True)),
            tuple(r.maximum if r else size for r, size in zip(ranges, sizes, strict=True)),
        )


Axes = dict[str, AxisRange]


def _latency(axes: Axes) -> Axes:
    return {**axes, BATCH: AxisRange(minimum=1, typical=1, maximum=1)}


def _throughput(axes: Axes) -> Axes:
    batch = axes[BATCH]
    return {**axes, BATCH: AxisRange(minimum=batch.minimum, typical=batch.maximum, maximum=batch.maximum)}


def _video(axes: Axes) -> Axes:
    """One stream; every frame reads the next frame's memory."""
    fixed = _latency(axes)
    if MEMORY in axes:
        fixed[MEMORY] = axes[MEMORY].model_copy(update={"typical": axes[MEMORY].maximum})
    return fixed


PRESETS: Mapping[str, Callable[[Axes], Axes]] = {"latency": _latency, "throughput": _throughput, "video": _video}


def make_profiles(spec: GraphSpec, preset: str) -> tuple[Profile, ...]:
    """The profiles of a graph. A graph with caches gets three: whole prompts, suffixes, single tokens.

    Raises InputError for an unknown preset.
    """
    if preset not in PRESETS:
        raise InputError(f"unknown profile preset {preset!r}; choose {', '.join(PRESETS)}")
    axes = PRESETS[preset](dict(spec.axis_ranges))
    if not spec.in_place:
        return (Profile(preset, axes),)
    tokens = axes[TOKENS]
    longest = min(SUFFIX_TOKENS, tokens.maximum)
    return (
        Profile("prefill", axes),
        Profile("suffix", {**axes, TOKENS: AxisRange(minimum=1, typical=max(1, 3 * longest // 4), maximum=longest)}),
        Profile("decode", {**axes, TOKENS: AxisRange(minimum=1, typical=1, maximum=1)}),
    )
