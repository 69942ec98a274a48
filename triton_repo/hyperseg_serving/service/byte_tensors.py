"""BYTES tensors as they lie in memory, read no further than a request may go."""

import struct
from collections.abc import Mapping

import numpy as np

from hyperseg_serving.refusals import Reason, RefusalError

LENGTH = struct.Struct("<I")


class Unread(np.ndarray):
    """In the place of elements that were not read; fits every shape."""

    def reshape(self, *shape: object, **options: object) -> "Unread":
        return self


class TooMany(Unread):
    """More elements than any request may have."""


class Malformed(Unread):
    """Lengths that lead past the end."""


def read_elements(encoded: np.ndarray, most: int) -> np.ndarray:
    """Elements of a BYTES tensor, each a length (uint32, little endian) and as many bytes: (n,) object of bytes.

    `encoded` is (bytes,) uint8. Reads `most` elements and no more: TooMany if there are others, Malformed if a length
    is wrong.
    """
    data = encoded.tobytes()
    elements: list[bytes] = []
    start = 0
    while start < len(data):
        if len(elements) == most:
            return np.empty(0, object).view(TooMany)
        if start + LENGTH.size > len(data):
            return np.empty(0, object).view(Malformed)
        (length,) = LENGTH.unpack_from(data, start)
        start += LENGTH.size
        if start + length > len(data):
            return np.empty(0, object).view(Malformed)
        elements.append(data[start : start + length])
        start += length
    found = np.empty(len(elements), object)
    found[:] = elements
    return found


def require_read(tensors: Mapping[str, np.ndarray]) -> None:
    """Raise RefusalError for a tensor that `read_elements` gave up on."""
    for name, array in tensors.items():
        if isinstance(array, TooMany):
            raise RefusalError(Reason.TOO_MANY, f"{name} holds more elements than any request may have")
        if isinstance(array, Malformed):
            raise RefusalError(Reason.REQUEST, f"the bytes of {name} do not fit its type and shape")
