import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hyperseg_runtime.contracts.results import (
    Instances,
    PanopticMap,
    Segment,
    SemanticMap,
    box_xyxy,
    decode_rle,
    encode_png,
    encode_rle,
    joined,
)
from hyperseg_runtime.errors import InputError

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
def test_a_pixel_belongs_to_the_best_instance_that_covers_it(seed: int, scores: list[float]) -> None:
    masks = np.random.default_rng(seed).random((len(scores), 5, 7)) < 0.4
    labels = several(masks, scores).label_map()
    assert labels.dtype == np.uint16 and labels.shape == (5, 7)
    for row, column in np.ndindex(5, 7):
        covering = [number for number, mask in enumerate(masks, 1) if mask[row, column]]
        best = max(covering, key=lambda number: scores[number - 1], default=0)  # the first of equals
        assert labels[row, column] == best


def test_without_an_instance_no_pixel_is_labelled() -> None:
    assert not several(np.zeros((0, 5, 7), bool), []).label_map().any()


def test_instances_become_one_json_object() -> None:
    masks = np.zeros((2, 4, 6), bool)
    masks[0, 1:3, 2:5] = True
    content = json.loads(json.dumps(result(masks=masks).to_json(), allow_nan=False))
    assert (content["kind"], content["asked"], content["task"]) == ("instances", ["the <b>cup</b> ☕"], "referring")
    assert (content["image_height_px"], content["image_width_px"]) == (4, 6)
    best, empty = content["instances"]
    assert best["score"] == 0.75 and best["details"] == {"query": 3} and best["area_px"] == 6
    assert (best["label"], empty["label"]) == ("the <b>cup</b> ☕", "another")
    assert best["bbox_xywh_px"] == [2, 1, 3, 2] and empty["bbox_xywh_px"] == [0, 0, 0, 0]
    assert np.array_equal(decode_rle(best["segmentation"]), masks[0])
    assert content["timings_ms"] == {"llm": 1.235}
    assert content["details"] == {"queries_evaluated": 7, "prompt_tokens": 161, "reused_tokens": 128}


def test_the_first_mask_is_the_best() -> None:
    masks = np.zeros((2, 4, 6), bool)
    masks[0, 0, 0] = True
    made = result(masks=masks)
    assert np.array_equal(made.mask, masks[0]) and made.score == 0.75
    assert made.boxes_xyxy.dtype == np.float32 and made.boxes_xyxy.tolist() == [[0, 0, 1, 1], [0, 0, 0, 0]]


def test_no_masks_is_a_result_too() -> None:
    made = several(np.zeros((0, 4, 6), bool), [])
    assert made.to_json()["instances"] == [] and made.boxes_xyxy.shape == (0, 4)
    assert made.score == 0 and made.mask.shape == (4, 6) and not made.mask.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masks": np.zeros((4, 6), bool)}, r"masks must be \(M, H, W\) bool, got bool \(4, 6\)"),
        ({"masks": np.zeros((2, 4, 6), np.uint8)}, r"masks must be \(M, H, W\) bool, got uint8"),
        ({"scores": np.zeros(1, np.float32)}, r"2 masks but scores \(1,\), 2 labels"),
        ({"scores": np.zeros((2, 1), np.float32)}, r"2 masks but scores \(2, 1\), 2 labels"),
        ({"labels": ("one",)}, r"2 masks but scores \(2,\), 1 labels"),
        ({"instance_details": ({"query": 3},)}, "2 masks but details of 1"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        result(**change)


@pytest.mark.parametrize(("least", "left"), [(0.0, "0123"), (0.5, "013"), (0.51, "03"), (1.0, "")])
def test_instances_from_a_score_on(least: float, left: str) -> None:
    made = several(np.random.default_rng(0).random((4, 5, 7)) < 0.4, [0.75, 0.5, 0.25, 0.6])
    found = made.at_least(least)
    assert found.labels == tuple(left)
    assert np.array_equal(found.masks, made.masks[[int(label) for label in left]])


def test_the_best_come_first_and_equal_ones_stay_in_order() -> None:
    made = several(np.random.default_rng(0).random((4, 5, 7)) < 0.4, [0.25, 0.5, 0.75, 0.5])
    found = made.best_first()
    assert found.labels == ("2", "1", "3", "0") and found.scores.tolist() == [0.75, 0.5, 0.5, 0.25]
    assert np.array_equal(found.mask, made.masks[2])


def test_details_go_with_their_instances() -> None:
    assert result().chosen([1]).instance_details == ({"query": 1},)
    assert result(instance_details=()).chosen([1]).instance_details == ()


def test_what_was_asked_and_the_times_can_be_replaced() -> None:
    made = result().asked_as("name them").timed({"llm": 2.0})
    assert (made.asked, made.labels, made.timings_ms) == (("name them",), result().labels, {"llm": 2.0})


def test_joined_results_are_one_best_first_and_their_counts_add_up() -> None:
    masks = np.random.default_rng(0).random((4, 5, 7)) < 0.4
    parts = [several(masks[:1], [0.25], details={"tokens": 3}), several(masks[1:], [0.75, 0.5, 0.25])]
    made = joined(parts, ("a", "b"), "class list", (5, 7))
    assert (made.asked, made.task) == (("a", "b"), "class list")
    assert made.labels == ("0", "1", "0", "2") and made.scores.tolist() == [0.75, 0.5, 0.25, 0.25]
    assert np.array_equal(made.masks, masks[[1, 2, 0, 3]])
    assert made.details == {"tokens": 3, "queries_evaluated": 7, "prompt_tokens": 161, "reused_tokens": 128}


def test_nothing_joined_is_a_result_of_the_images_size() -> None:
    made = joined([], (), "class list", (5, 7))
    assert made.masks.shape == (0, 5, 7) and made.details == {}


@settings(deadline=None, max_examples=50)
@given(height=SIDES, width=SIDES, seed=st.integers(0, 2**32 - 1))
def test_a_semantic_map_comes_back_from_its_json(height: int, width: int, seed: int) -> None:
    classes = np.random.default_rng(seed).integers(-1, 3, (height, width), np.int32)
    made = SemanticMap(asked=("sky", "road", "tree"), task="semantic", classes=classes)
    content = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert (content["kind"], content["image_height_px"], content["image_width_px"]) == ("semantic", height, width)
    found = np.full((height, width), -1)
    for row in content["classes"]:
        mask = decode_rle(row["segmentation"])
        assert row["area_px"] == mask.sum() > 0 and row["label"] == made.asked[row["class"]]
        assert (found[mask] == -1).all()
        found[mask] = row["class"]
    assert np.array_equal(found, classes)


@settings(deadline=None, max_examples=50)
@given(height=SIDES, width=SIDES, seed=st.integers(0, 2**32 - 1))
def test_a_panoptic_map_comes_back_from_its_png_and_from_its_json(height: int, width: int, seed: int) -> None:
    """COCO's format: id = R + 256 G + 256^2 B, and `segments_info` beside it."""
    made = panoptic(np.random.default_rng(seed).choice([0, 1, 300, 2**24 - 1], (height, width)).astype(np.int32))
    red, green, blue = np.moveaxis(decoded(made.to_png()).astype(np.int32), -1, 0)
    assert np.array_equal(red + 256 * green + 256**2 * blue, made.ids)
    content = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert (content["kind"], content["asked"]) == ("panoptic", ["person", "sky"])
    found = np.zeros_like(made.ids)
    for row in content["segments_info"]:
        mask = decode_rle(row["segmentation"])
        x, y, box_width, box_height = row["bbox"]
        assert row["area"] == mask.sum() == mask[y : y + box_height, x : x + box_width].sum()
        found[mask] = row["id"]
    assert np.array_equal(found, made.ids)


def test_segments_say_their_class_whether_it_counts_and_how_sure_they_are() -> None:
    ids = np.array([[0, 1, 1], [300, 1, 0]], np.int32)
    rows = panoptic(ids).to_json()["segments_info"]
    told = [(row["id"], row["label"], row["category_id"], row["isthing"], row["score"], row["area"]) for row in rows]
    assert told == [(1, "person", 0, 1, 0.5, 3), (300, "person", 0, 1, 0.25, 1), (2**24 - 1, "sky", 1, 0, 1.0, 0)]
    assert rows[0]["bbox"] == [1, 0, 2, 2] and rows[2]["bbox"] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("ids", "known", "message"),
    [
        (np.zeros((4, 6), np.int64), (1,), r"ids must be \(H, W\) int32, got int64 \(4, 6\)"),
        (np.zeros(6, np.int32), (1,), r"ids must be \(H, W\) int32, got int32 \(6,\)"),
        (np.full((4, 6), 2, np.int32), (1,), "ids and segments do not belong together"),
        (np.zeros((4, 6), np.int32), (1, 1), "ids and segments do not belong together"),
        (np.zeros((4, 6), np.int32), (0,), "ids and segments do not belong together"),
    ],
)
def test_a_panoptic_map_of_other_parts_is_refused(ids: np.ndarray, known: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PanopticMap(asked=("sky",), task="panoptic", ids=ids, segments=tuple(Segment(i, 0, False, 1) for i in known))


@pytest.mark.parametrize(
    ("least", "left"),
    [(0.0, {1, 300, 2**24 - 1}), (0.25, {1, 300, 2**24 - 1}), (0.3, {1, 2**24 - 1}), (1.0, {2**24 - 1})],
)
def test_segments_from_a_score_on(least: float, left: set[int]) -> None:
    """Pixels of the others are of none."""
    ids = np.array([[0, 1, 1], [300, 2**24 - 1, 0]], np.int32)
    found = panoptic(ids).at_least(least)
    assert {segment.id for segment in found.segments} == left
    assert found.ids.dtype == np.int32 and np.array_equal(found.ids, np.where(np.isin(ids, list(left)), ids, 0))
    assert found.asked == panoptic(ids).asked


def test_a_score_that_a_segment_has_in_float32_is_reached() -> None:
    segment = Segment(1, 0, True, float(np.float32(0.9)))
    made = PanopticMap(asked=("sky",), task="panoptic", ids=np.ones((1, 1), np.int32), segments=(segment,))
    assert made.at_least(0.9) is made and not made.at_least(0.91).segments


def test_a_semantic_map_has_no_scores() -> None:
    made = SemanticMap(asked=("sky",), task="semantic", classes=np.zeros((4, 6), np.int32))
    assert made.at_least(0) is made
    with pytest.raises(InputError, match=r"no scores, so that a least score of 0\.5 chooses nothing"):
        made.at_least(0.5)


@pytest.mark.parametrize("classes", [np.zeros((4, 6), np.int64), np.zeros((1, 4, 6), np.int32)])
def test_a_semantic_map_of_another_form_is_refused(classes: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"classes must be \(H, W\) int32, got "):
        SemanticMap(asked=("sky",), task="semantic", classes=classes)


def panoptic(ids: np.ndarray) -> PanopticMap:
    segments = (Segment(1, 0, True, 0.5), Segment(300, 0, True, 0.25), Segment(2**24 - 1, 1, False, 1.0))
    return PanopticMap(asked=("person", "sky"), task="panoptic", ids=ids, segments=segments)


def test_png_of_a_mask_and_of_an_image() -> None:
    mask = np.random.default_rng(0).random((5, 7)) < 0.5
    assert np.array_equal(decoded(encode_png(mask)), np.where(mask, 255, 0))
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(decoded(encode_png(image)), image)


def result(**change: Any) -> Instances:
    parts: dict[str, Any] = {
        "masks": np.zeros((2, 4, 6), bool),
        "scores": np.array([0.75, 0.5], np.float32),
        "labels": ("the <b>cup</b> ☕", "another"),
        "instance_details": ({"query": 3}, {"query": 1}),
        "asked": ("the <b>cup</b> ☕",),
        "task": "referring",
        "timings_ms": {"llm": 1.23456},
        "details": {"queries_evaluated": 7, "prompt_tokens": 161, "reused_tokens": 128},
    }
    return Instances(**{**parts, **change})


def several(masks: np.ndarray, scores: list[float], **change: Any) -> Instances:
    """Instances that are told apart by their labels, 0, 1, ..."""
    labels = tuple(map(str, range(len(scores))))
    return result(masks=masks, scores=np.array(scores, np.float32), labels=labels, instance_details=(), **change)


def decoded(png: bytes) -> np.ndarray:
    import io

    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)
