"""Pixels of files that were sent before: who asks about one image again need not wait for its decoding."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hyperseg_runtime.session.image_cache import image_key

CAPACITY_BYTES = 64 << 20
"""Of a photograph of 12 million pixels the decoding takes about as long as the rest of a small model's answer."""


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

    @property
    def size_bytes(self) -> int:
        return sum(image.pixels.nbytes for image in self._images.values())

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
        if pixels.nbytes > self._capacity_bytes:
            return image
        with self._lock:
            self._images[key] = image
            while self.size_bytes > self._capacity_bytes:
                self._images.popitem(last=False)
        return image
