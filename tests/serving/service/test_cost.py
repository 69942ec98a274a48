"""What a request may cost, before a pixel of it is decoded."""

import numpy as np
import pytest

from hyperseg_runtime.heads.instances import MOST
from hyperseg_serving.client.client import encoded
from hyperseg_serving.contract import Limits, Options, StreamStep
from hyperseg_serving.refusals import Reason, RefusalError
from hyperseg_serving.service.cost import cost_of, require_light
from hyperseg_serving.service.requests import Request

PICTURE = encoded(np.zeros((10, 20, 3), np.uint8))  # 200 pixels
LIMITS = Limits(max_mask_pixels=2000, light_mask_pixels=600)


@pytest.mark.parametrize(
    ("request_", "mask_pixels", "is_heavy"),
    [
        (Request(question="a?"), 0, False),
        (Request(PICTURE, question="a?"), 200, False),
        (Request(PICTURE, ("a", "b"), ("c",)), 600, False),
        (Request(PICTURE, ("a", "b"), options=Options(png=True)), 800, True),
        (Request(PICTURE, classes=("a",) * 10), 2000, True),
    ],
)
def test_pixels_times_masks(request_: Request, mask_pixels: int, is_heavy: bool) -> None:
    cost = cost_of(request_, LIMITS)
    assert (cost.mask_pixels, cost.is_heavy) == (mask_pixels, is_heavy)
    assert cost.waiting_bytes == len(request_.image or b"")


@pytest.mark.parametrize(
    "request_",
    [
        Request(PICTURE, ("a",) * 6, ("b",) * 5),
        Request(PICTURE, ("a",) * 6, options=Options(png=True)),
        Request(PICTURE, ("a",) * 4, stream=StreamStep(start=True)),
    ],
)
def test_too_much_is_refused_with_the_limit(request_: Request) -> None:
    with pytest.raises(RefusalError, match=r"at most (2,000|600) are taken") as refusal:
        cost_of(request_, LIMITS)
    assert refusal.value.reason is Reason.TOO_MUCH


def test_a_list_costs_a_frame_no_more_than_the_objects_that_are_found() -> None:
    """COCO's 133 names in a frame of 640 x 480 px stay below the limit for frames."""
    picture = encoded(np.zeros((480, 640, 3), np.uint8))
    request = Request(picture, classes=tuple(map(str, range(133))), stream=StreamStep(start=True))
    assert cost_of(request, Limits()).mask_pixels == 480 * 640 * MOST


def test_the_ensemble_takes_light_requests() -> None:
    require_light((10, 20), 3, LIMITS)
    with pytest.raises(RefusalError, match="ask the public model"):
        require_light((10, 20), 4, LIMITS)


def test_what_takes_light_requests_alone_takes_no_more_than_all_others() -> None:
    limits = Limits(max_mask_pixels=400)
    with pytest.raises(RefusalError, match="at most 400 are taken"):
        cost_of(Request(PICTURE, ("a",) * 3, stream=StreamStep(start=True)), limits)
    with pytest.raises(RefusalError, match="at most 400 are taken"):
        require_light((10, 20), 3, limits)


def test_a_bomb_costs_nothing(bomb: bytes) -> None:
    with pytest.raises(RefusalError) as refusal:
        cost_of(Request(bomb, ("a",)), Limits())
    assert refusal.value.reason is Reason.IMAGE_TOO_LARGE
