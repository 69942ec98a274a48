"""BYTES tensors of every kind, read no further than needed."""

import struct
import time

import numpy as np
import pytest

from hyperseg_serving.refusals import Reason, RefusalError
from hyperseg_serving.service.byte_tensors import read_elements, require_read


def packed(*elements: bytes) -> np.ndarray:
    return np.frombuffer(b"".join(struct.pack("<I", len(one)) + one for one in elements), np.uint8)


def test_elements_are_read_as_they_are() -> None:
    """As the server's library does; it also reshapes what it is given."""
    elements = (b"", b"a red car", "größer".encode(), b"\0\xff")
    found = read_elements(packed(*elements), 4)
    assert found.dtype == object and tuple(found) == elements
    assert found.reshape((4, 1)).shape == (4, 1)
    assert read_elements(packed(), 4).shape == (0,)


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (packed(b"a", b"b", b"c"), Reason.TOO_MANY),
        (np.array([1, 0, 0], np.uint8), Reason.REQUEST),
        (np.array([2, 0, 0, 0, 1], np.uint8), Reason.REQUEST),
        (np.array([255, 255, 255, 127, 1], np.uint8), Reason.REQUEST),
    ],
)
def test_what_was_not_read_fits_every_shape_and_is_refused(encoded: np.ndarray, reason: Reason) -> None:
    found = read_elements(encoded, 2).reshape((3, 1))
    with pytest.raises(RefusalError, match="TEXT") as refusal:
        require_read({"OTHER": np.zeros(1), "TEXT": found})
    assert refusal.value.reason is reason


def test_millions_of_empty_texts_take_no_time() -> None:
    encoded = np.zeros(27_000_000, np.uint8)
    start = time.perf_counter()
    read_elements(encoded, 256)
    assert time.perf_counter() - start < 0.2
