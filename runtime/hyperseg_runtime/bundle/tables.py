"""Rows that the host puts into prompts: the token table and the learned queries. Memory-mapped."""

from pathlib import Path

import numpy as np

from hyperseg_runtime.errors import BundleError

TOKENS = "tokens"
MASK_QUERIES = "mask_queries"
LATENTS = "latents"
TABLES = (TOKENS, MASK_QUERIES, LATENTS)


def table_path(name: str) -> str:
    """File of a table inside a bundle."""
    return f"embeddings/{name}.npy"


class Embeddings:
    """Tables (rows, width) in the checkpoint's dtype; rows come out as float32."""

    def __init__(self, bundle: Path) -> None:
        self._tables = {name: _open(bundle / table_path(name)) for name in TABLES}

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tables[name].shape

    def table(self, name: str) -> np.ndarray:
        """A whole small table, (rows, width) float32."""
        return np.asarray(self._tables[name], np.float32)

    def token_rows(self, token_ids: tuple[int, ...]) -> np.ndarray:
        """(len(token_ids), width) float32"""
        return self._tables[TOKENS][list(token_ids)].astype(np.float32)


def _open(path: Path) -> np.ndarray:
    try:
        table = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # damaged headers raise errors of half a dozen types
        raise BundleError(f"{path.name}: not an embedding table: {error}") from error
    if table.ndim != 2 or table.dtype not in (np.float16, np.float32):
        raise BundleError(f"{path.name}: expected float rows, got {table.dtype} {table.shape}")
    return table
