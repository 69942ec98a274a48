"""CUDA source of the operator for one layer of a network, and the arithmetic of its launch.

Everything that is fixed for a layer is a constant in its source, so the compiler unrolls levels and points and
folds every size. The arithmetic itself stands in csrc/lane.h, csrc/samples.h and csrc/sampling.h.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hyperseg_kernels.cuda.source import LOAD_BYTES, THREADS_PER_BLOCK, WARP, ValueType, header_texts

SOURCES = Path(__file__).parent / "csrc"
BLOCKS_PER_MULTIPROCESSOR = 3
"""At least; leaves a thread up to 80 registers, so the compiler neither spills nor delays loads to save some."""
MAX_LEVELS = 32
SHARED_ROWS = 2**27
"""csrc/lane.h, `from_lane`: a row and four bits in one word."""
INDEX_LIMIT = 2**31


@dataclass(frozen=True)
class Layer:
    """Sizes of one layer: level_shapes are (height, width) in the order of the value rows, channels are per head."""

    heads: int
    channels: int
    points: int
    level_shapes: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.level_shapes) <= MAX_LEVELS:
            raise ValueError(f"deformable attention takes 1 to {MAX_LEVELS} levels, not {len(self.level_shapes)}")
        if (
            min(self.heads, self.channels, self.points, *(extent for shape in self.level_shapes for extent in shape))
            < 1
        ):
            raise ValueError(f"deformable attention: every size must be at least 1: {self}")
        if self.rows * self.heads * self.channels >= INDEX_LIMIT:
            raise ValueError(f"deformable attention: one image has 2**31 values or more: {self}")

    @property
    def rows(self) -> int:
        return sum(height * width for height, width in self.level_shapes)

    def lane_channels(self, value_type: ValueType) -> int:
        """Channels that one thread makes: as many as one load brings, if they divide the head."""
        widest = LOAD_BYTES // value_type.size_bytes
        return next(count for count in (8, 4, 2, 1) if count <= widest and self.channels % count == 0)

    def sharers(self, value_type: ValueType) -> int:
        """Lanes of a query and head that share the work on its samples: all, where they lie in one warp and a row fits
        the bits in which they tell it."""
        lanes = self.channels // self.lane_channels(value_type)
        return lanes if WARP % lanes == 0 and self.rows < SHARED_ROWS else 1

    def lanes(self, value_type: ValueType, batch: int, queries: int) -> int:
        """Threads with work. Raises ValueError beyond what one launch can count."""
        lanes = batch * queries * self.heads * self.channels // self.lane_channels(value_type)
        if lanes >= INDEX_LIMIT:
            raise ValueError(f"deformable attention: a batch of {batch} with {queries} queries needs several launches")
        return lanes

    def cpp(self) -> str:
        """Initialiser of `hyperseg::Layer` in csrc/samples.h."""
        areas = [height * width for height, width in self.level_shapes]
        heights, widths = zip(*self.level_shapes, strict=True)
        columns = (heights, widths, [sum(areas[:level]) for level in range(len(areas))])
        levels = ", ".join("{" + ", ".join(map(str, column)) + "}" for column in columns)
        return f"{{{self.heads}, {self.channels}, {self.points}, {{{len(areas)}, {levels}}}}}"


def headers() -> dict[str, str]:
    """Name -> text of every file that a kernel includes."""
    return header_texts(SOURCES, "lane.h", "samples.h", "sampling.h")


def program(layer: Layer, kernels: Sequence[str]) -> str:
    """A translation unit with these kernels (see `given_kernel`, `projected_kernel`) for one layer."""
    head = f'#include "lane.h"\nusing namespace hyperseg;\n__device__ constexpr Layer layer = {layer.cpp()};\n'
    return head + "".join(kernels)


def given_name(value_type: ValueType) -> str:
    return f"deformable_attention_{value_type}"


def given_kernel(layer: Layer, value_type: ValueType) -> str:
    """Arguments: value, locations, weights, int32 lanes, int32 queries, output; layouts as in `reference`."""
    return _GIVEN.format(
        name=given_name(value_type),
        value=value_type.cpp,
        lane_channels=layer.lane_channels(value_type),
        sharers=layer.sharers(value_type),
        threads=THREADS_PER_BLOCK,
        blocks=BLOCKS_PER_MULTIPROCESSOR,
    )


def projected_name(value_type: ValueType, reference_size: int) -> str:
    return f"projected_deformable_attention_{value_type}_{'box' if reference_size == 4 else 'point'}"


def projected_kernel(layer: Layer, value_type: ValueType, reference_size: int) -> str:
    """The fused form. Arguments: value, references, offsets, logits, int32 lanes, queries, image_stride,
    level_stride, output; strides count the floats between the references of two images and two levels, 0 when
    they share one. reference_size is 2 (x, y) or 4 (x, y, width, height)."""
    return _PROJECTED.format(
        name=projected_name(value_type, reference_size),
        value=value_type.cpp,
        reference_size=reference_size,
        lane_channels=layer.lane_channels(value_type),
        sharers=layer.sharers(value_type),
        threads=THREADS_PER_BLOCK,
        blocks=BLOCKS_PER_MULTIPROCESSOR,
    )


# __restrict__ lets the compiler load through the read-only path. Threads without work do that of the first item again,
# since lanes that share have to be there.
_GIVEN = """
extern "C" __global__ void __launch_bounds__({threads}, {blocks}) {name}(
    const {value}* __restrict__ value, const float* __restrict__ locations, const float* __restrict__ weights,
    int lanes, int queries, {value}* __restrict__ output) {{
  const int index = blockIdx.x * {threads} + threadIdx.x, lane = index < lanes ? index : index % {sharers};
  attend_given<{value}, {lane_channels}, {sharers}>(layer, queries, lane, value, locations, weights, output);
}}
"""
_PROJECTED = """
extern "C" __global__ void __launch_bounds__({threads}, {blocks}) {name}(
    const {value}* __restrict__ value, const float* __restrict__ references, const {value}* __restrict__ offsets,
    const {value}* __restrict__ logits, int lanes, int queries, int image_stride, int level_stride,
    {value}* __restrict__ output) {{
  const int index = blockIdx.x * {threads} + threadIdx.x, lane = index < lanes ? index : index % {sharers};
  attend_projected<{value}, {lane_channels}, {sharers}, {reference_size}>(
      layer, queries, lane, image_stride, level_stride, value, references, offsets, logits, output);
}}
"""
