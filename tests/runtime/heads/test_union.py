"""Unions of masks against PSALM's own, and what holds for every input."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heads_support import class_cases, golden_geometry, plain
from hyperseg_runtime.heads.referring import all_queries, best_query
from hyperseg_runtime.heads.union import MIN_SCORE, union_of_queries
from hyperseg_runtime.images.preprocessing import ImageGeometry

Golden = Callable[[str], Mapping[str, np.ndarray]]
Case = tuple[np.ndarray, np.ndarray, ImageGeometry, list[bool]]


@pytest.mark.parametrize("limit", [0.1, MIN_SCORE])
def test_equals_the_original(psalm: Golden, limit: float) -> None:
    golden = psalm("referring")
    logits = golden["pred_masks"][0], golden["pred_SEG_logits"][0, :, 0], golden_geometry(golden)
    found = union_of_queries(*logits, limit)
    assert np.array_equal(found.mask, golden[f"grefcoco_union_thr{limit:.2f}"].astype(bool))
    assert found.above == int((golden["final_scores"] > limit).sum())


def test_where_nothing_scores_high_the_best_one_is_given_and_said_to_be_below() -> None:
    masks = np.full((2, 2, 3), 3, np.float32)
    masks[1, :, 1:] = -3
    found = union_of_queries(masks, np.array([-1, 0], np.float32), plain(2, 3))
    assert found.above == 0 and found.queries == (1,) and found.score < MIN_SCORE
    assert found.mask.tolist() == [[True, False, False]] * 2


def test_objects_are_put_together() -> None:
    masks = np.full((3, 1, 3), -9, np.float32)
    masks[0, :, 0] = masks[1, :, 2] = masks[2, :, 1] = 9
    found = union_of_queries(masks, np.array([2, 3, -5], np.float32), plain(1, 3))
    assert found.queries == (0, 1) and found.mask.tolist() == [[True, False, True]]
    assert found.score == pytest.approx(1 / (1 + np.exp(-3)), rel=1e-3)


@settings(deadline=None, max_examples=60)
@given(class_cases(), st.floats(0, 1))
def test_it_is_the_union_of_all_that_exceed_the_limit(case: Case, limit: float) -> None:
    class_logits, masks, geometry, _ = case
    logits = class_logits[:, 0]
    every = all_queries(masks, logits, geometry)
    above = [one for one in every if one.score > limit]
    found = union_of_queries(masks, logits, geometry, limit)
    expected = above or [best_query(masks, logits, geometry)]
    assert found.queries == tuple(one.query for one in expected) and found.above == len(above)
    assert np.array_equal(found.mask, np.any([one.mask for one in expected], axis=0))
    assert found.score == max(one.score for one in expected)
