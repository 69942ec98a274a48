"""One map of several masks, by hand."""

import numpy as np

from hyperseg_runtime.heads.merging import painted, shared_out


def test_the_likeliest_object_wins_or_none_of_them() -> None:
    first = np.array([[0.9, 0.4, 0.6, 0.5]], np.float32)
    second = np.array([[0.8, 0.4, 0.7, 0.0]], np.float32)
    # None of them: 0.02, 0.36, 0.12, 0.5; of equal ones the first wins.
    assert shared_out(np.stack([first, second])).tolist() == [[1, 1, 2, 0]]
    assert shared_out(np.stack([first])).tolist() == [[1, 0, 1, 0]]


def test_probabilities_that_are_one_to_rounding_are_equal() -> None:
    """As in the original, whose probabilities are float32: 1 - 1e-9 and 1 - 1e-8 are both 1."""
    nearly = np.array([1 - 1e-8, 1 - 1e-9], np.float64).astype(np.float32)[:, None, None]
    assert shared_out(nearly).tolist() == [[1]]


def test_no_pixel_twice_and_the_same_in_any_order() -> None:
    """Soft merging looks at no order; where none is equal to another, numbers are the only thing that changes."""
    generator = np.random.default_rng(0)
    for count in (1, 2, 3, 7):
        probabilities = generator.uniform(0, 1, (count, 16, 24)).astype(np.float32)
        found = shared_out(probabilities)
        assert found.shape == (16, 24) and found.min() >= 0 and found.max() <= count
        order = generator.permutation(count)
        again = shared_out(probabilities[order])
        masks, moved = ([numbers == one for one in range(1, count + 1)] for numbers in (found, again))
        assert np.sum(masks, axis=0).max() <= 1
        assert all(np.array_equal(moved[place], masks[number]) for place, number in enumerate(order))


def test_later_objects_cover_those_before_them() -> None:
    masks = np.array([[[1, 1, 0, 0]], [[0, 1, 1, 0]]], bool)
    assert painted(masks).tolist() == [[1, 2, 2, 0]]
    assert painted(masks[::-1]).tolist() == [[2, 2, 1, 0]]
