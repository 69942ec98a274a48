"""CUDA source of mask readout, and the arithmetic of its launch. The arithmetic of a pixel stands in csrc/readout.h.

A block reads a part of the rows of one query of one image, for their statistics or their pixels; a warp reads some rows
at a time and keeps their lines of source values in shared memory.
"""

from dataclasses import replace
from pathlib import Path

from hyperseg_kernels.cuda.source import WARP, Grid, ValueType, header_texts
from hyperseg_kernels.mask_readout.reference import PARTS

SOURCES = Path(__file__).parent / "csrc"
MAX_THREADS = 512
BLOCKS_PER_MULTIPROCESSOR = 2
"""At least; leaves a thread 64 registers, with which no architecture spills."""
SHARED_BYTES = 47 * 1024
"""Of the 48 KB that every GPU gives a block unasked; the rest is for the sums of its warps."""
LINES = 2
"""Rows that a warp reads at a time: the tables of columns are read once for all."""
MAX_WIDTH_PX = SHARED_BYTES // (4 * LINES)
INDEX_LIMIT = 2**31


def grid(images: int, queries: int, masks: int, width_px: int) -> Grid:
    """A block for every part of a query and of a mask. Raises ValueError beyond what one launch can count."""
    blocks = images * PARTS * (queries + masks)
    if blocks >= INDEX_LIMIT:
        raise ValueError(f"mask readout of {blocks} masks needs several launches")
    return replace(block(width_px), blocks=blocks)


def block(width_px: int) -> Grid:
    """One block of whole warps, as many as have room for their lines of float32. Raises ValueError where not one
    has."""
    if not 1 <= width_px <= MAX_WIDTH_PX:
        raise ValueError(f"mask readout takes logits 1 to {MAX_WIDTH_PX} px wide, not {width_px}")
    line_bytes = 4 * LINES * width_px
    warps = min(MAX_THREADS // WARP, SHARED_BYTES // line_bytes)
    return Grid(1, WARP * warps, warps * line_bytes)


def headers() -> dict[str, str]:
    """Name -> text of every file that the kernels include."""
    return header_texts(SOURCES, "block.h", "masks.h", "readout.h")


def name(value_type: ValueType) -> str:
    return f"mask_readout_{value_type}"


def program(*value_types: ValueType) -> str:
    """A translation unit with one kernel per type. Arguments: mask_logits, shown, row_index, row_weight,
    column_index, column_weight, int32 queries, masks, height, width, image_height, image_width, then sums, areas,
    pixels; layouts as in `reference`."""
    kernels = (
        _KERNEL.format(
            name=name(one), value=one.cpp, threads=MAX_THREADS, blocks=BLOCKS_PER_MULTIPROCESSOR, lines=LINES
        )
        for one in value_types
    )
    return '#include "block.h"\nusing namespace hyperseg;\n' + "".join(kernels)


_KERNEL = """
extern "C" __global__ void __launch_bounds__({threads}, {blocks}) {name}(
    const {value}* __restrict__ logits, const int* __restrict__ shown, const int* __restrict__ row_index,
    const float* __restrict__ row_weight, const int* __restrict__ column_index,
    const float* __restrict__ column_weight, int queries, int masks, int height, int width, int image_height,
    int image_width, float* sums, int* areas, bool* pixels) {{
  const Masks<{value}> all = {{logits, shown, queries, masks, height, width,
                              {{row_index, row_weight, image_height}}, {{column_index, column_weight, image_width}},
                              sums, areas, pixels}};
  read_block<{lines}>(all);
}}
"""
