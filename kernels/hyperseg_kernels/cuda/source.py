"""What the CUDA kernels of all operators have in common: value types, block size, the headers they include."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "csrc"
THREADS_PER_BLOCK = 256
WARP = 32
LOAD_BYTES = 16
"""The widest load of a GPU thread."""


class ValueType(StrEnum):
    """Type of what a network hands over and, where it is of the same kind, of the result. Coordinates, weights and sums
    are float32 or wider in all kernels."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"

    @property
    def cpp(self) -> str:
        return {"float32": "float", "float16": "Half", "bfloat16": "BFloat16"}[self]

    @property
    def size_bytes(self) -> int:
        return 4 if self is ValueType.FLOAT32 else 2


@dataclass(frozen=True)
class Grid:
    """One launch of a kernel."""

    blocks: int
    threads: int = THREADS_PER_BLOCK
    shared_bytes: int = 0


def grid_of(lanes: int) -> Grid:
    """With a thread for every lane."""
    return Grid((lanes + THREADS_PER_BLOCK - 1) // THREADS_PER_BLOCK)


def header_texts(folder: Path, *names: str) -> dict[str, str]:
    """Name -> text of the headers of one operator, and of what every kernel includes."""
    return {name: (folder / name).read_text() for name in names} | {"device.h": (SOURCES / "device.h").read_text()}
