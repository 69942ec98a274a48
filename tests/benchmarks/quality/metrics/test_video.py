"""J and F on masks whose boundaries can be counted."""

import numpy as np
import pytest

from hyperseg_bench.quality.metrics.video import boundary, boundary_accuracy, clip_scores, region_similarity


def square(size: int, top: int, left: int, extent: int) -> np.ndarray:
    mask = np.zeros((size, size), np.bool_)
    mask[top : top + extent, left : left + extent] = True
    return mask


def test_a_boundary_lies_on_the_upper_left_of_every_change() -> None:
    """As in the original: a pixel is on it if its right, lower or lower right neighbour differs."""
    mask = square(5, 2, 2, 1)
    expected = np.zeros((5, 5), np.bool_)
    expected[1:3, 1:3] = True
    np.testing.assert_array_equal(boundary(mask), expected)


def test_a_mask_up_to_the_border_has_no_boundary_there() -> None:
    assert not boundary(np.ones((4, 4), np.bool_)).any()


def test_equal_masks_score_one_and_far_ones_zero() -> None:
    one, other = square(60, 5, 5, 10), square(60, 40, 40, 10)
    assert boundary_accuracy(one, one) == region_similarity(one, one) == 1
    assert boundary_accuracy(one, other) == region_similarity(one, other) == 0


def test_a_boundary_off_by_the_tolerance_still_matches_and_by_one_more_does_not() -> None:
    """0.008 of the diagonal of 100 x 100 is 1.13, rounded up to 2 pixels; rounding down would lose the first case."""
    one = square(100, 20, 20, 40)
    assert boundary_accuracy(square(100, 22, 20, 40), one) == 1
    assert boundary_accuracy(square(100, 23, 20, 40), one) < 1


def test_precision_and_recall_are_combined_harmonically() -> None:
    """Half of what was found is right and all that was wanted is found: 2 * 0.5 / 1.5."""
    wanted = square(200, 20, 20, 30)
    found = wanted | square(200, 120, 120, 30)
    assert boundary_accuracy(found, wanted) == pytest.approx(2 / 3)
    assert boundary_accuracy(wanted, found) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("found", "score"), [(np.zeros((9, 9), np.bool_), 1.0), (square(9, 2, 2, 3), 0.0)])
def test_an_object_that_is_not_there(found: np.ndarray, score: float) -> None:
    nothing = np.zeros((9, 9), np.bool_)
    assert boundary_accuracy(found, nothing) == region_similarity(found, nothing) == score


def test_a_clip_is_the_mean_over_all_its_frames() -> None:
    """The first frame counts too: in semi-supervised DAVIS it is given and left out."""
    wanted = np.stack([square(60, 5, 5, 10)] * 4)
    found = wanted.copy()
    found[0] = square(60, 40, 40, 10)
    scores = clip_scores(found, wanted)
    assert (scores.j, scores.f, scores.j_and_f) == (0.75, 0.75, 0.75)


def test_clips_must_fit_each_other() -> None:
    with pytest.raises(ValueError, match="one frame or more"):
        clip_scores(np.zeros((0, 4, 4), np.bool_), np.zeros((0, 4, 4), np.bool_))
