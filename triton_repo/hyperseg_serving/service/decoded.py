"""Pixels of files that were sent before: who asks about one image again need not wait for its decoding."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

CAPACITY_BYTES = 64 << 20
"""Of a photograph of 12 million pixels the decoding takes about as long as the rest of a small model's answer."""


class DecodedImages:
    """The least recently used go first when all together take more than `capacity_bytes`. For several threads."""

    def __init__(self, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._pixels: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        return sum(pixels.nbytes for pixels in self._pixels.values())

    def open(self, data: bytes, owner: str, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """Pixels (H, W, 3) uint8 of the file `data`, not to be changed; remembered for the same owner alone."""
        digest = hashlib.sha256(hashlib.sha256(owner.encode()).digest())
        digest.update(data)
        key = digest.digest()
        with self._lock:
            if key in self._pixels:
                self._pixels.move_to_end(key)
                return self._pixels[key]
        pixels = decode()
        if pixels.nbytes > self._capacity_bytes:
            return pixels
        pixels.flags.writeable = False
        with self._lock:
            self._pixels[key] = pixels
            while self.size_bytes > self._capacity_bytes:
                self._pixels.popitem(last=False)
        return pixels
