"""The masks of a long clip, kept as run lengths: hundreds of frames with many expressions would not fit otherwise."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from hyperseg_runtime.contracts.results import decode_rle, encode_rle


class StoredMasks:
    """Iterate for one (H, W) bool mask after another."""

    def __init__(self, masks: Iterable[np.ndarray] = ()) -> None:
        self.rles: list[dict[str, Any]] = [encode_rle(mask) for mask in masks]

    def append(self, mask: np.ndarray) -> None:
        self.rles.append(encode_rle(mask))

    def __len__(self) -> int:
        return len(self.rles)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (decode_rle(rle) for rle in self.rles)
