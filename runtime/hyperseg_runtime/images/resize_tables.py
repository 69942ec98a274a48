"""Pillow's resizing as arrays, for graphs that resize where their pixels lie."""

from collections.abc import Iterator

import numpy as np
import PIL

from hyperseg_kernels.pillow_resize.axis import Axis, Filter, Tables, are_rows_first, tables
from hyperseg_runtime.contracts.graph_spec import DType, TensorSpec

PASSES = ("first_row", "column", "last_row")
"""Names of the passes of `hyperseg_kernels.pillow_resize.axis.Tables` in its order."""


def table_specs(name: str, rows: int | str, columns: int | str) -> tuple[TensorSpec, ...]:
    """Inputs of a graph that resizes pixels to (rows, columns): index and weight of each pass, (taps, size) int64."""
    sizes = (f"{name}_first_rows", columns, rows)
    return tuple(
        TensorSpec(name=f"{name}_{part}_{what}", dtype=DType.INT64, axes=(f"{name}_{part}_taps", size))
        for part, size in zip(PASSES, sizes, strict=True)
        for what in ("index", "weight")
    )


def table_arrays(
    name: str, source_hw: tuple[int, int], target_hw: tuple[int, int], method: Filter
) -> Iterator[tuple[str, np.ndarray]]:
    """What these inputs get for a resize as the Pillow that is installed here makes it."""
    found: Tables = tables(source_hw, target_hw, method, are_rows_first(source_hw, target_hw, PIL.__version__))
    passes: tuple[Axis, ...] = (found.first_rows, found.columns, found.last_rows)
    for part, axis in zip(PASSES, passes, strict=True):
        yield f"{name}_{part}_index", axis.index.astype(np.int64)
        yield f"{name}_{part}_weight", axis.weight.astype(np.int64)
