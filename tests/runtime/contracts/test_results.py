import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hyperseg_runtime.contracts.results import (
    SegmentationResult,
    box_xyxy,
    decode_rle,
    encode_png,
    encode_rle,
    label_map,
)

SIDES = st.integers(1, 40)


@settings(deadline=None, max_examples=100)
@given(height=SIDES, width=SIDES, share=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_run_lengths_give_the_mask_back(height: int, width: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    rle = json.loads(json.dumps(encode_rle(mask)))
    assert rle["size"] == [height, width]
    found = decode_rle(rle)
    assert found.dtype == np.bool_ and np.array_equal(found, mask)


def test_run_lengths_of_a_view() -> None:
    mask = np.random.default_rng(0).random((30, 40)) < 0.5
    for view in (mask.T, mask[::-1, ::2], np.broadcast_to(mask[:1], (5, 40))):
        assert np.array_equal(decode_rle(encode_rle(view)), view)


def test_run_lengths_are_those_of_coco() -> None:
    """Columns first, beginning with the count of zeros: here 2, 3, 1."""
    mask = np.array([[0, 1, 1], [0, 1, 0]], bool)
    assert encode_rle(mask) == {"size": [2, 3], "counts": "231"}


@settings(deadline=None, max_examples=50)
@given(height=SIDES, width=SIDES, seed=st.integers(0, 2**32 - 1), share=st.floats(0, 0.2))
def test_box_is_the_tightest_that_holds_the_mask(height: int, width: int, seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    x0, y0, x1, y1 = box_xyxy(mask)
    assert mask[y0:y1, x0:x1].sum() == mask.sum()
    if mask.any():
        inside = mask[y0:y1, x0:x1]
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
    else:
        assert (x0, y0, x1, y1) == (0, 0, 0, 0)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), scores=st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=1, max_size=5))
def test_a_pixel_belongs_to_the_best_result_that_covers_it(seed: int, scores: list[float]) -> None:
    masks = np.random.default_rng(seed).random((len(scores), 5, 7)) < 0.4
    results = [
        result(masks=mask[None], scores=np.array([score], np.float32), queries=np.zeros(1, np.int64))
        for mask, score in zip(masks, scores, strict=True)
    ]
    labels = label_map(results)
    assert labels.dtype == np.uint16 and labels.shape == (5, 7)
    for row, column in np.ndindex(5, 7):
        covering = [number for number, mask in enumerate(masks, 1) if mask[row, column]]
        best = max(covering, key=lambda number: scores[number - 1], default=0)  # the first of equals
        assert labels[row, column] == best
    with pytest.raises(ValueError, match="without a result"):
        label_map([])


def test_a_result_becomes_one_json_object() -> None:
    masks = np.zeros((2, 4, 6), bool)
    masks[0, 1:3, 2:5] = True
    content = json.loads(json.dumps(result(masks=masks).to_json(), allow_nan=False))
    assert content["text"] == "the <b>cup</b> ☕" and content["task"] == "referring"
    assert (content["image_height_px"], content["image_width_px"]) == (4, 6)
    best, empty = content["masks"]
    assert best["score"] == 0.75 and best["query"] == 3 and best["area_px"] == 6
    assert best["bbox_xywh_px"] == [2, 1, 3, 2] and empty["bbox_xywh_px"] == [0, 0, 0, 0]
    assert np.array_equal(decode_rle(best["segmentation"]), masks[0])
    assert content["timings_ms"] == {"llm": 1.235} and content["queries_evaluated"] == 7


def test_the_first_mask_is_the_best() -> None:
    masks = np.zeros((2, 4, 6), bool)
    masks[0, 0, 0] = True
    made = result(masks=masks)
    assert np.array_equal(made.mask, masks[0]) and made.score == 0.75
    assert made.boxes_xyxy.dtype == np.float32 and made.boxes_xyxy.tolist() == [[0, 0, 1, 1], [0, 0, 0, 0]]


def test_no_masks_is_a_result_too() -> None:
    made = result(masks=np.zeros((0, 4, 6), bool), scores=np.zeros(0, np.float32), queries=np.zeros(0, np.int64))
    assert made.to_json()["masks"] == [] and made.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masks": np.zeros((4, 6), bool)}, r"masks must be \(M, H, W\) bool, got bool \(4, 6\)"),
        ({"masks": np.zeros((2, 4, 6), np.uint8)}, r"masks must be \(M, H, W\) bool, got uint8"),
        ({"scores": np.zeros(1, np.float32)}, r"2 masks but scores \(1,\), queries \(2,\)"),
        ({"queries": np.zeros((2, 1), np.int64)}, r"2 masks but scores \(2,\), queries \(2, 1\)"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        result(**change)


def test_png_of_a_mask_and_of_an_image() -> None:
    mask = np.random.default_rng(0).random((5, 7)) < 0.5
    assert np.array_equal(decoded(encode_png(mask)), np.where(mask, 255, 0))
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(decoded(encode_png(image)), image)


def result(**change: Any) -> SegmentationResult:
    parts: dict[str, Any] = {
        "masks": np.zeros((2, 4, 6), bool),
        "scores": np.array([0.75, 0.5], np.float32),
        "queries": np.array([3, 1]),
        "text": "the <b>cup</b> ☕",
        "task": "referring",
        "timings_ms": {"llm": 1.23456},
        "evaluated": 7,
        "prompt_tokens": 161,
        "reused_tokens": 128,
    }
    return SegmentationResult(**{**parts, **change})


def decoded(png: bytes) -> np.ndarray:
    import io

    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)
