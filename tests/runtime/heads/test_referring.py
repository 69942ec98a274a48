"""The shortcut to the best mask against the plain way that brings every query to full size."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_export.parity.tolerances import SCORE
from hyperseg_runtime.heads import referring
from hyperseg_runtime.heads.full_size import sigmoid
from hyperseg_runtime.heads.referring import ScoredMask, all_queries, best_query, score_bounds, score_query
from hyperseg_runtime.images.preprocessing import ImageGeometry, fitted_size

KINDS = ("random", "ties", "all negative", "outside", "border", "huge", "one positive", "zero")


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_best_query_is_the_first_maximum_of_all(data: st.DataObject) -> None:
    mask_logits, score_logits, geometry = data.draw(cases())
    best = best_query(mask_logits, score_logits, geometry)
    expected = first_maximum(all_queries(mask_logits, score_logits, geometry))
    assert (best.query, best.score) == (expected.query, expected.score)
    assert np.array_equal(best.mask, expected.mask)
    assert 1 <= best.evaluated <= len(mask_logits)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_no_score_exceeds_its_bound(data: st.DataObject) -> None:
    mask_logits, score_logits, geometry = data.draw(cases())
    bounds = score_bounds(mask_logits, score_logits, geometry)
    for scored, bound in zip(all_queries(mask_logits, score_logits, geometry), bounds, strict=True):
        assert 0 <= scored.score <= bound <= 1 + referring.ROUNDING_MARGIN


def test_bounds_allow_for_the_rounding_of_interpolation() -> None:
    """Interpolating between equal values may give a little more than the value."""
    constants = np.linspace(0.01, 8, 60, dtype=np.float32)
    masks = np.broadcast_to(constants[:, None, None], (60, 8, 8))
    scores = np.zeros(60, np.float32)
    geometry = ImageGeometry((150, 210), (46, 64), (64, 64))
    bounds = score_bounds(masks, scores, geometry)
    found = np.array([scored.score for scored in all_queries(masks, scores, geometry)])
    assert (found <= bounds).all() and (found > bounds / (1 + referring.ROUNDING_MARGIN)).any()


def test_a_query_that_cannot_win_is_not_brought_to_full_size() -> None:
    masks = np.full((20, 8, 8), 8, np.float32)
    scores = np.linspace(-6, 3, 20).astype(np.float32)
    best = best_query(masks, scores, square(32))
    assert (best.query, best.evaluated) == (19, 1)


def test_queries_without_a_pixel_cost_nothing_once_one_is_known() -> None:
    masks = np.full((20, 8, 8), -1, np.float32)
    best = best_query(masks, np.zeros(20, np.float32), square(32))
    assert (best.query, best.score, best.evaluated) == (0, 0.0, 1)
    assert not best.mask.any()


def test_masks_outside_the_image_do_not_count() -> None:
    """The lower half of the square is padding."""
    geometry = ImageGeometry((16, 32), (16, 32), (32, 32))
    masks = np.full((2, 8, 8), -5, np.float32)
    masks[0, 6:] = 50
    masks[1, :2] = 1
    best = best_query(masks, np.array([5, -5], np.float32), geometry)
    assert best.query == 1 and best.mask.any() and best.mask.shape == (16, 32)
    assert score_bounds(masks, np.array([5, -5], np.float32), geometry)[0] == 0


def test_a_score_is_certainty_inside_the_mask_times_that_of_the_query() -> None:
    logits = np.full((8, 8), 2, np.float32)
    scored = score_query(logits, 1.0, square(32), query=3)
    assert scored.query == 3 and scored.mask.all()
    assert scored.score == pytest.approx(1 / (1 + np.exp(-2)) / (1 + np.exp(-1)), rel=1e-6)


def test_a_logit_of_zero_is_outside() -> None:
    scored = score_query(np.zeros((8, 8), np.float32), 1.0, square(32))
    assert not scored.mask.any() and scored.score == 0


def test_no_queries_is_an_error() -> None:
    with pytest.raises(ValueError, match="there are no queries"):
        best_query(np.zeros((0, 8, 8), np.float32), np.zeros(0, np.float32), square(32))


def test_equals_the_original_on_its_own_logits(golden_dir: Path) -> None:
    with np.load(golden_dir / "res_image.npz") as golden:
        height, width = (int(extent) for extent in golden["in_height_width"])
        geometry = ImageGeometry((height, width), fitted_size(height, width, 128), (128, 128))
        logits, scores = golden["pred_masks"][0], golden["pred_SEG_logits"][0, :, 0]
        best = best_query(logits, scores, geometry)
        assert np.array_equal(best.mask, golden["best_mask0"].astype(bool))
        assert abs(best.score - golden["best_score0"][0]) <= SCORE
        found = sorted(scored.score for scored in all_queries(logits, scores, geometry))
        assert np.abs(np.array(found) - np.sort(golden["final_scores0"])).max() <= SCORE


def test_sigmoid_neither_overflows_nor_loses_small_values() -> None:
    x = np.array([-1e4, -700, -1, 0, 1, 700, 1e4])
    assert sigmoid(x)[[0, 3, 5, 6]].tolist() == [0, 0.5, 1, 1]
    assert sigmoid(-700.0) == pytest.approx(np.exp(-700.0))
    assert sigmoid(np.ones(1, np.float32)).dtype == np.float64


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, ImageGeometry]:
    """Mask logits (Q, h, w), score logits (Q,) and a geometry of any shape."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    side = draw(st.integers(4, 64))
    original = draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    if draw(st.booleans()):
        original = draw(st.sampled_from(((1, 1), (1, 500), (500, 1), (2, 300), (90, 7))))
    geometry = ImageGeometry(original, fitted_size(*original, side), (side, side))
    count, rows, columns = draw(st.integers(1, 8)), draw(st.integers(1, 20)), draw(st.integers(1, 20))
    scores = random.normal(0, 3, count).astype(np.float32)
    masks = random.normal(-1, 4, (count, rows, columns)).astype(np.float32)
    for query in range(count):
        kind = draw(st.sampled_from(KINDS))
        masks[query], scores[query] = altered(kind, masks, scores, query, geometry, random)
    return masks, scores, geometry


def altered(
    kind: str,
    masks: np.ndarray,
    scores: np.ndarray,
    query: int,
    geometry: ImageGeometry,
    random: np.random.Generator,
) -> tuple[np.ndarray, float]:
    mask, score = masks[query], scores[query]
    match kind:
        case "ties":
            twin = random.integers(0, len(masks))
            return masks[twin], scores[twin]
        case "all negative":
            return -np.abs(mask), score
        case "outside" | "border":  # positive only in the padding, or in the last row and column that reach out of it
            valid = [-(-v * n // p) for v, n, p in zip(geometry.valid_hw, mask.shape, geometry.padded_hw, strict=True)]
            seen = [extent + (kind == "outside") for extent in valid]
            mask = 100 * np.abs(mask)
            mask[: seen[0], : seen[1]] /= -100
            return mask, score
        case "huge":
            return mask * 1e4, score * 1e4
        case "one positive":
            mask = -np.abs(mask)
            mask[tuple(random.integers(0, mask.shape))] = 1e-3
            return mask, score
        case "zero":
            return np.zeros_like(mask), 0.0
    return mask, score


def first_maximum(scored: list[ScoredMask]) -> ScoredMask:
    return max(scored, key=lambda one: (one.score, -one.query))


def square(side: int) -> ImageGeometry:
    return ImageGeometry((side, side), (side, side), (side, side))
