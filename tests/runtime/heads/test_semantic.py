"""The semantic map against PSALM's own, and what holds for every input."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings

from heads_support import MERGE_CASES, class_cases, golden_geometry, plain
from hyperseg_export.parity.tolerances import SCORE
from hyperseg_runtime.heads.semantic import semantic_map, semantic_scores
from hyperseg_runtime.images.preprocessing import ImageGeometry

Golden = Callable[[str], Mapping[str, np.ndarray]]
Case = tuple[np.ndarray, np.ndarray, ImageGeometry, list[bool]]


@pytest.mark.parametrize("case", MERGE_CASES)
def test_equals_the_original_on_designed_logits(psalm: Golden, case: str) -> None:
    golden = psalm("merge_cases")
    masks, expected = golden[f"{case}_in_mask_logits"], golden[f"{case}_out_sem_seg"]
    logits, geometry = golden[f"{case}_in_class_logits"], plain(*masks.shape[1:])
    assert np.abs(np.stack(list(semantic_scores(logits, masks, geometry))) - expected).max() <= SCORE
    assert np.array_equal(semantic_map(logits, masks, geometry), expected.argmax(0))


def test_equals_the_original_from_the_networks_own_logits(psalm: Golden) -> None:
    golden = psalm("semantic")
    given_ = golden["pred_class_name_logits"][0], golden["pred_masks"][0], golden_geometry(golden)
    assert np.abs(np.stack(list(semantic_scores(*given_))) - golden["final_sem_seg"]).max() <= SCORE
    assert np.array_equal(semantic_map(*given_), golden["final_sem_seg"].argmax(0))


def test_each_pixel_has_the_class_that_is_seen_there() -> None:
    masks = np.full((2, 2, 4), -9, np.float32)
    masks[0, :, :1] = masks[1, :, 1:] = 9
    logits = np.array([[0, 9, 0], [9, 0, 0]], np.float32)
    assert semantic_map(logits, masks, plain(2, 4)).tolist() == [[1, 0, 0, 0]] * 2


@settings(deadline=None, max_examples=60)
@given(class_cases())
def test_every_pixel_has_one_class_whatever_the_order_of_queries(case: Case) -> None:
    class_logits, masks, geometry, things = case
    scores = np.stack(list(semantic_scores(class_logits, masks, geometry)))
    turned = np.stack(list(semantic_scores(class_logits[::-1], masks[::-1], geometry)))
    classes = semantic_map(class_logits, masks, geometry)
    assert np.array_equal(classes, scores.argmax(0)) and classes.dtype == np.int32
    assert scores.shape == (len(things), *geometry.original_hw)
    assert np.allclose(scores, turned, atol=1e-5) and scores.min() >= 0 and scores.max() <= len(masks) + 1e-4
