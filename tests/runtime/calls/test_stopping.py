"""A call is stopped between its steps, and what turns errors into others lets that pass."""

import io

import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.calls.stopping import Stopped, may_go_on, stoppable
from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.images.reading import decode_image
from hyperseg_runtime.images.resizing import BAND_ELEMENTS, resize_bilinear


class LateError(Exception):
    pass


def test_without_anybody_to_stop_it_work_goes_on() -> None:
    may_go_on()
    with stoppable(lambda: None), span("a"):
        may_go_on()


def test_the_reason_is_raised_and_not_taken_for_a_fault_of_the_work() -> None:
    with pytest.raises(LateError, match="why"), stoppable(lambda: LateError("why")):
        try:
            may_go_on()
        except Exception:
            pytest.fail("a stop is no error of the work")


def test_it_ends_with_its_block() -> None:
    with pytest.raises(LateError), stoppable(LateError), span("a"):
        pytest.fail("the span was begun")
    may_go_on()


def test_inside_a_large_picture() -> None:
    """Three bands are begun, the fourth is not."""
    answers = iter([None, None, None, LateError()])
    with pytest.raises(LateError), stoppable(lambda: next(answers)):
        resize_bilinear(np.zeros((4, 4), np.float32), (6, BAND_ELEMENTS))


def test_decoding_is_stopped_and_no_damaged_image() -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    with pytest.raises(LateError), stoppable(LateError):
        decode_image(file, "a")
    with pytest.raises(Stopped):
        raise Stopped(LateError())
