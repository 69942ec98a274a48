"""Pixels of files that were sent before: who asks about one image again need not wait for its decoding."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hyperseg_runtime.session.image_cache import image_key

CAPACITY_BYTES = 64 << 20
"""Five photographs of 4 million pixels."""
ENTRY_BYTES = 1024
"""Counted for each image beside its pixels, at least what Python needs for it: tiny images are many, not free."""


class Decoded(NamedTuple):
    pixels: np.ndarray
    """(H, W, 3) uint8, not to be changed."""
    key: str
    """Their `image_key`: the time to make it grows with the pixels too."""


class DecodedImages:
    """The least recently used go first when all together take more than `capacity_bytes`. For several threads."""

    def __init__(self, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._images: OrderedDict[bytes, Decoded] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = 0

    def open(self, data: bytes, owner: str, decode: Callable[[], np.ndarray]) -> Decoded:
        """The image in the file `data`, remembered for the same owner alone."""
        digest = hashlib.sha256(hashlib.sha256(owner.encode()).digest())
        digest.update(data)
        key = digest.digest()
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
                return self._images[key]
        pixels = decode()
        pixels.flags.writeable = False
        image = Decoded(pixels, image_key(pixels, owner))
        with self._lock:
            if key not in self._images and _size_bytes(image) <= self._capacity_bytes:
                self._images[key] = image
                self.size_bytes += _size_bytes(image)
            while self.size_bytes > self._capacity_bytes:
                _, oldest = self._images.popitem(last=False)
                self.size_bytes -= _size_bytes(oldest)
        return image


def _size_bytes(image: Decoded) -> int:
    return image.pixels.nbytes + ENTRY_BYTES
