"""The panoptic merge against PSALM's own, on hand-made cases, and what holds for every input."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings

from heads_support import MERGE_CASES, class_cases, golden_geometry, plain
from hyperseg_runtime.heads.panoptic import PanopticRules, merge_panoptic
from hyperseg_runtime.images.preprocessing import ImageGeometry

Golden = Callable[[str], Mapping[str, np.ndarray]]
Case = tuple[np.ndarray, np.ndarray, ImageGeometry, list[bool]]
SURE = 12.0


@pytest.mark.parametrize("case", MERGE_CASES)
def test_equals_the_original_on_designed_logits(psalm: Golden, case: str) -> None:
    golden = psalm("merge_cases")
    masks = golden[f"{case}_in_mask_logits"]
    ids, segments = merge_panoptic(
        golden[f"{case}_in_class_logits"], masks, plain(*masks.shape[1:]), golden["in_is_thing"].tolist()
    )
    assert np.array_equal(ids, golden[f"{case}_out_panoptic_seg"])
    assert [one.id for one in segments] == golden[f"{case}_out_segments_id"].tolist()
    assert [one.class_index for one in segments] == golden[f"{case}_out_segments_category_id"].tolist()
    assert [one.is_thing for one in segments] == golden[f"{case}_out_segments_isthing"].tolist()


@pytest.mark.parametrize("name", ["panoptic", "panoptic_coco"])
def test_equals_the_original_from_the_networks_own_logits(psalm: Golden, name: str) -> None:
    golden = psalm(name)
    ids, segments = merge_panoptic(
        golden["pred_class_name_logits"][0],
        golden["pred_masks"][0],
        golden_geometry(golden),
        golden["in_is_thing"].tolist(),
    )
    assert np.array_equal(ids, golden["final_panoptic_seg"])
    assert [one.id for one in segments] == golden["final_segments_id"].tolist()
    assert [one.class_index for one in segments] == golden["final_segments_category_id"].tolist()


def test_a_pixel_goes_to_the_surer_query_and_stuff_is_one_segment() -> None:
    """Two strips of sky, a cat over the second."""
    masks = np.full((3, 4, 6), -SURE, np.float32)
    masks[0, :2] = masks[1, 2:] = 1
    masks[2, 3, :2] = SURE
    logits = np.array([[SURE, 0, 0], [SURE, 0, 0], [0, SURE, 0]], np.float32)
    ids, segments = merge_panoptic(logits, masks, plain(4, 6), [False, True])
    assert ids.tolist() == [[1] * 6, [1] * 6, [1] * 6, [2, 2, 1, 1, 1, 1]]
    assert [(one.class_index, one.is_thing) for one in segments] == [(0, False), (1, True)]


def test_two_cats_are_two_segments() -> None:
    masks = np.full((2, 2, 4), -SURE, np.float32)
    masks[0, :, :2] = masks[1, :, 2:] = SURE
    ids, segments = merge_panoptic(np.array([[SURE, 0]] * 2, np.float32), masks, plain(2, 4), [True])
    assert ids.tolist() == [[1, 1, 2, 2]] * 2 and len(segments) == 2


def test_the_score_of_merged_stuff_is_its_largest() -> None:
    masks = np.full((2, 2, 4), -SURE, np.float32)
    masks[0, :, :2] = masks[1, :, 2:] = SURE
    logits = np.array([[2, 0], [5, 0]], np.float32)
    _, (one,) = merge_panoptic(logits, masks, plain(2, 4), [False])
    assert one.score == pytest.approx(1 / (1 + np.exp(-5)), rel=1e-6)


def test_thresholds_are_data() -> None:
    """The second query keeps a half of its mask."""
    masks = np.full((2, 1, 4), -SURE, np.float32)
    masks[0, :, :2], masks[1] = SURE, 1
    logits = np.array([[3, 0], [3, 0]], np.float32)
    ids, _ = merge_panoptic(logits, masks, plain(1, 4), [True])
    assert ids.tolist() == [[1, 1, 0, 0]]
    ids, _ = merge_panoptic(logits, masks, plain(1, 4), [True], PanopticRules(min_overlap=0.5))
    assert ids.tolist() == [[1, 1, 2, 2]]
    ids, segments = merge_panoptic(logits, masks, plain(1, 4), [True], PanopticRules(min_score=0.99))
    assert not ids.any() and segments == ()


@settings(deadline=None, max_examples=80)
@given(class_cases())
def test_no_pixel_is_twice_in_it_and_areas_add_up(case: Case) -> None:
    class_logits, masks, geometry, things = case
    ids, segments = merge_panoptic(class_logits, masks, geometry, things, PanopticRules(0.3, 0.2))
    areas = [int((ids == one.id).sum()) for one in segments]
    assert ids.shape == geometry.original_hw and ids.dtype == np.int32
    assert all(areas) and sum(areas) + int((ids == 0).sum()) == ids.size
    assert [one.id for one in segments] == list(range(1, len(segments) + 1))
    stuff = [one.class_index for one in segments if not one.is_thing]
    assert len(stuff) == len(set(stuff))
    assert all(0.3 < one.score <= 1 and one.is_thing == things[one.class_index] for one in segments)


@settings(deadline=None, max_examples=50)
@given(class_cases())
def test_the_order_of_queries_only_numbers_the_segments(case: Case) -> None:
    class_logits, masks, geometry, things = case
    rules = PanopticRules(0.3, 0.2)
    ids, segments = merge_panoptic(class_logits, masks, geometry, things, rules)
    turned, others = merge_panoptic(class_logits[::-1], masks[::-1], geometry, things, rules)
    assert {covered(ids, one.id, one.class_index) for one in segments} == {
        covered(turned, one.id, one.class_index) for one in others
    }


def covered(ids: np.ndarray, number: int, class_index: int) -> tuple[int, bytes]:
    return class_index, (ids == number).tobytes()
