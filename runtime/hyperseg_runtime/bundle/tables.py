"""Tables of rows that the host reads out of a bundle: token embeddings, learned queries. Memory-mapped."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import BundleError

TableShapes = Mapping[str, tuple[int, int]]
"""Name of a table -> rows and width."""


def table_path(name: str) -> str:
    """File of a table inside a bundle."""
    return f"tables/{name}.npy"


class HostTables:
    """Tables (rows, width) in the checkpoint's dtype; rows come out as float32."""

    def __init__(self, bundle: Bundle, shapes: TableShapes) -> None:
        """Raises BundleError for a table that is absent, damaged or of another shape."""
        self._tables = {name: _open(bundle.path(table_path(name)), shape) for name, shape in shapes.items()}

    def table(self, name: str) -> np.ndarray:
        """A whole small table, (rows, width) float32."""
        return np.asarray(self._tables[name], np.float32)

    def rows(self, name: str, indices: Sequence[int]) -> np.ndarray:
        """(len(indices), width) float32"""
        return self._tables[name][list(indices)].astype(np.float32)


def _open(path: Path, shape: tuple[int, int]) -> np.ndarray:
    try:
        table = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # damaged headers raise errors of half a dozen types
        raise BundleError(f"{path.name}: not a table of rows: {error}") from error
    if table.dtype not in (np.float16, np.float32) or table.shape != shape:
        raise BundleError(
            f"{path.name}: expected float rows of shape {shape}, got {table.dtype} {table.shape}; export it again"
        )
    return table
