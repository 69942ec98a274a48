"""Instances of a class list against PSALM's own, and what holds for every input."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heads_support import MERGE_CASES, QUERIES, class_cases, golden_geometry, plain, unpacked
from hyperseg_export.parity.tolerances import SCORE
from hyperseg_runtime.heads.class_scores import class_probabilities
from hyperseg_runtime.heads.instances import FoundInstances, find_instances
from hyperseg_runtime.heads.referring import best_query
from hyperseg_runtime.images.preprocessing import ImageGeometry

Golden = Callable[[str], Mapping[str, np.ndarray]]
Case = tuple[np.ndarray, np.ndarray, ImageGeometry, list[bool]]


@pytest.mark.parametrize("case", MERGE_CASES)
@pytest.mark.parametrize("only_things", [True, False])
def test_equals_the_original_on_designed_logits(psalm: Golden, case: str, only_things: bool) -> None:
    golden = psalm("merge_cases")
    masks = golden[f"{case}_in_mask_logits"]
    things = golden["in_is_thing"].tolist() if only_things else None
    found = find_instances(golden[f"{case}_in_class_logits"], masks, plain(*masks.shape[1:]), things, QUERIES)
    prefix = f"{case}_out_" if only_things else f"{case}_out_nofilter_"
    require_same(found, golden, prefix)


@pytest.mark.parametrize("name", ["panoptic", "panoptic_coco", "instance"])
def test_equals_the_original_from_the_networks_own_logits(psalm: Golden, name: str) -> None:
    golden = psalm(name)
    things = golden["in_is_thing"].tolist() if "in_is_thing" in golden else None
    logits, masks = golden["pred_class_name_logits"][0], golden["pred_masks"][0]
    require_same(find_instances(logits, masks, golden_geometry(golden), things, QUERIES), golden, "final_")


def test_regions_are_read_as_expressions_are(psalm: Golden) -> None:
    """The original scores queries for a region as for an expression: one head serves both."""
    golden = psalm("regions")
    masks = unpacked(golden, "final_masks")
    for row, logits in enumerate(golden["pred_region_logits0"]):
        best = best_query(golden["pred_masks"][0], logits, golden_geometry(golden))
        assert best.query == golden["best_query"][row]
        assert abs(best.score - golden["final_scores"][best.query, row]) <= SCORE
        assert np.array_equal(best.mask, masks[best.query])


def test_a_query_may_stand_for_two_classes() -> None:
    masks = np.full((1, 2, 2), 3, np.float32)
    found = find_instances(np.log(np.array([[0.5, 0.3, 0.2]], np.float32)), masks, plain(2, 2))
    assert (found.queries.tolist(), found.classes.tolist()) == ([0, 0], [0, 1])
    assert found.scores == pytest.approx(np.array([0.5, 0.3]) / (1 + np.exp(-3)), rel=1e-5)


@settings(deadline=None, max_examples=60)
@given(class_cases())
def test_what_is_kept_is_the_most_probable_and_comes_best_first(case: Case) -> None:
    class_logits, masks, geometry, things = case
    most = max(1, class_logits.shape[1] - 1)
    found = find_instances(class_logits, masks, geometry, None, most)
    probabilities = class_probabilities(class_logits)[:, :-1]
    kept = probabilities[found.queries, found.classes]
    assert len(kept) == min(most, probabilities.size) and kept.min() >= np.sort(probabilities, axis=None)[-len(kept)]
    assert (np.diff(found.scores) <= 0).all() and (found.scores <= kept + 1e-6).all()
    assert len(set(zip(found.queries.tolist(), found.classes.tolist(), strict=True))) == len(kept)
    only = find_instances(class_logits, masks, geometry, things, most)
    assert [c for c in found.classes.tolist() if things[c]] == only.classes.tolist()


def require_same(found: FoundInstances, golden: Mapping[str, np.ndarray], prefix: str) -> None:
    """The same scores, classes and masks, whatever the order of equal scores."""
    scores, classes, masks = golden[f"{prefix}scores"], golden[f"{prefix}classes"], unpacked(golden, f"{prefix}masks")
    assert len(found.scores) == len(scores)
    left = list(range(len(scores)))
    for score, label, mask in zip(found.scores, found.classes, found.masks, strict=True):
        same = [i for i in left if classes[i] == label and abs(scores[i] - score) <= SCORE]
        same = [i for i in same if np.array_equal(masks[i], mask)]
        assert same, (float(score), int(label))
        left.remove(same[0])


@settings(deadline=None, max_examples=60)
@given(class_cases(), st.floats(0, 1))
def test_what_cannot_reach_the_score_is_left_out_and_nothing_else(case: Case, min_score: float) -> None:
    class_logits, masks, geometry, things = case
    every, some = (find_instances(class_logits, masks, geometry, things, min_score=least) for least in (0, min_score))
    rows, chosen = (np.flatnonzero(found.scores >= min_score) for found in (every, some))
    assert np.array_equal(every.scores[rows], some.scores[chosen])
    for name in ("queries", "classes", "masks"):
        assert np.array_equal(getattr(every, name)[rows], getattr(some, name)[chosen])
