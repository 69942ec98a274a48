"""CUDA source of the resize: a block for every tile of the result. The arithmetic stands in csrc/tile.h."""

from pathlib import Path

from hyperseg_kernels.cuda.source import THREADS_PER_BLOCK, Grid, ValueType, header_texts

SOURCES = Path(__file__).parent / "csrc"
BLOCKS_PER_MULTIPROCESSOR = 4
"""At least; leaves a thread 64 registers, with which it spills nothing."""
TILE_ROWS, TILE_NUMBERS = 16, 64
"""Of the result; kTileRows and kTileNumbers of csrc/tile.h."""


def grid(images: int, rows: int, numbers: int) -> Grid:
    """For rows of so many numbers, columns times channels. Raises ValueError beyond what one launch can count."""
    if images * rows * numbers >= 2**31:
        raise ValueError(f"a resize to {images * rows * numbers} numbers needs several launches")
    return Grid(images * -(-rows // TILE_ROWS) * -(-numbers // TILE_NUMBERS))


def headers() -> dict[str, str]:
    """Name -> text of every file that the kernels include."""
    return header_texts(SOURCES, "resize.h", "tile.h")


def name(value_type: ValueType) -> str:
    return f"pillow_resize_{value_type}"


def program(*value_types: ValueType) -> str:
    """A translation unit with one kernel per type. Arguments: pixels, index and weight of the first rows, the columns
    and the last rows, int32 height, width, channels, taps and size of each table, then resized;
    layouts as in `reference`."""
    kernels = (
        _KERNEL.format(name=name(one), value=one.cpp, threads=THREADS_PER_BLOCK, blocks=BLOCKS_PER_MULTIPROCESSOR)
        for one in value_types
    )
    return '#include "tile.h"\nusing namespace hyperseg;\n' + "".join(kernels)


_KERNEL = """
extern "C" __global__ void __launch_bounds__({threads}, {blocks}) {name}(
    const {value}* __restrict__ pixels, const int* __restrict__ first_index, const int* __restrict__ first_weight,
    const int* __restrict__ column_index, const int* __restrict__ column_weight, const int* __restrict__ last_index,
    const int* __restrict__ last_weight, int height, int width, int channels, int first_taps, int first,
    int column_taps, int columns, int last_taps, int last, {value}* resized) {{
  __shared__ unsigned char kept[kKeptRows * kTileNumbers];
  const Resize<{value}> all = {{pixels, height, width, channels, {{first_index, first_weight, first_taps, first}},
                               {{column_index, column_weight, column_taps, columns}},
                               {{last_index, last_weight, last_taps, last}}, resized}};
  const Tile tile = tile_of(all, blockIdx.x);
  keep(all, tile, threadIdx.x, {threads}, kept);
  __syncthreads();
  finish(all, tile, threadIdx.x, {threads}, kept);
}}
"""
