"""One number for how far two arrays are apart, also where it is easy to get a pass for nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hyperseg_export.parity.compare import cosine_distance, decision_regret, mask_disagreement, worst_error

NAN, INF = math.nan, math.inf
FINITE = st.floats(-1e6, 1e6, width=32)


@settings(deadline=None, max_examples=60)
@given(arrays(np.float32, array_shapes(min_side=0, max_dims=3), elements=FINITE))
def test_an_array_is_equal_to_itself(array: np.ndarray) -> None:
    assert worst_error(array, array.copy()) == 0


@settings(deadline=None, max_examples=60)
@given(arrays(np.float64, array_shapes(max_dims=2), elements=st.floats(-1e3, 1e3)), st.floats(1e-3, 1e3), st.data())
def test_the_worst_element_counts_in_units_of_the_range(array: np.ndarray, error: float, data: st.DataObject) -> None:
    array = array.round(3)
    found = array.copy()
    place = tuple(data.draw(st.integers(0, extent - 1)) for extent in array.shape)
    found[place] += error
    extent = (array.max() - array.min()) or abs(array.max()) or 1
    assert worst_error(found, array) == pytest.approx((found[place] - array[place]) / extent)


@pytest.mark.parametrize(
    ("found", "expected", "error"),
    [
        ([0.0, 10.0], [0.0, 10.0], 0),
        ([0.0, 9.0], [0.0, 10.0], 0.1),
        ([1.0, 9.0], [0.0, 10.0], 0.1),
        ([-5.0, 5.0], [0.0, 0.0], 5),  # constant zero: units of one
        ([4.0, 5.0], [4.0, 4.0], 0.25),  # constant: units of its value
        ([-4.0, -5.0], [-4.0, -4.0], 0.25),
        ([], [], 0),
    ],
)
def test_examples(found: list[float], expected: list[float], error: float) -> None:
    assert worst_error(np.array(found), np.array(expected)) == pytest.approx(error)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([NAN, 1.0], [0.0, 1.0]),
        ([INF, 1.0], [0.0, 1.0]),
        ([-INF, 1.0], [0.0, 1.0]),
        ([NAN, 1.0], [NAN, 1.0]),
        ([INF, 1.0], [INF, 1.0]),
        ([0.0, 1.0], [NAN, 1.0]),
        ([0.0, 1.0], [INF, 1.0]),
        ([0.0, 1.0], [-INF, 1.0]),
    ],
)
def test_nan_and_infinity_are_never_close(found: list[float], expected: list[float]) -> None:
    assert worst_error(np.array(found), np.array(expected)) == INF


@pytest.mark.parametrize(("one", "other"), [((2, 3), (3, 2)), ((4,), (4, 1)), ((0,), (1,)), ((), (1,)), ((0,), (0, 2))])
def test_shapes_are_never_broadcast(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    assert worst_error(np.zeros(one), np.zeros(other)) == INF


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_integers_and_booleans_count_the_elements_that_differ(dtype: type) -> None:
    expected = np.array([0, 1, 1, 0], dtype)
    assert worst_error(expected.copy(), expected) == 0
    assert worst_error(np.array([1, 1, 1, 0], dtype), expected) == 0.25
    assert worst_error(1 - expected.astype(np.int8), expected) == 1


def test_far_integers_are_no_worse_than_near_ones() -> None:
    assert worst_error(np.array([1000, 2]), np.array([1, 2])) == 0.5


def test_float16_is_compared_without_overflow() -> None:
    expected = np.array([-60000, 60000], np.float16)
    assert worst_error(np.array([-60000, 59968], np.float16), expected) == pytest.approx(32 / 120000)


def test_cosine_distance_grows_with_the_angle() -> None:
    x = np.array([[3.0, 4.0]], np.float32)
    assert cosine_distance(x, x) == pytest.approx(0.0, abs=1e-12)
    assert cosine_distance(2 * x, x) == pytest.approx(0.0, abs=1e-12)
    assert cosine_distance(np.array([[-4.0, 3.0]]), x) == pytest.approx(1.0)
    assert cosine_distance(-x, x) == pytest.approx(2.0)


def test_cosine_distance_of_zeros_and_of_no_numbers() -> None:
    zeros, ones = np.zeros(3), np.ones(3)
    assert cosine_distance(zeros, zeros) == 0.0
    assert cosine_distance(ones, zeros) == cosine_distance(zeros, ones) == 1.0
    assert cosine_distance(np.full(3, np.nan), ones) == cosine_distance(ones, np.ones(4)) == float("inf")


def test_mask_disagreement_counts_pixels_that_change_sides() -> None:
    expected = np.array([[1.0, 1.0, -1.0, 0.0]])
    assert mask_disagreement(expected, expected) == 0.0
    assert mask_disagreement(np.array([[1.0, -1.0, -1.0, 0.0]]), expected) == pytest.approx(1 / 3)
    assert mask_disagreement(-np.ones(4), -np.ones(4)) == 0.0
    assert mask_disagreement(np.full((1, 4), np.inf), expected) == float("inf")


def test_decision_regret_is_what_the_wrong_choice_loses() -> None:
    expected = np.array([[0.0, 10.0, 9.0], [4.0, 0.0, 0.0]])
    assert decision_regret(expected * 3 - 1, expected, axis=-1) == 0.0
    assert decision_regret(np.array([[0.0, 1.0, 2.0], [4.0, 0.0, 0.0]]), expected, axis=-1) == pytest.approx(0.1)
    assert decision_regret(np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 4.0]]), expected, axis=-1) == pytest.approx(0.4)
    assert decision_regret(np.array([[0.0, 0.0, 9.0], [4.0, 1.0, 0.0]]), expected, axis=0) == pytest.approx(1.0)


def test_decision_regret_of_ties_and_of_no_numbers() -> None:
    assert decision_regret(np.array([0.0, 1.0]), np.array([2.0, 2.0]), axis=0) == 0.0
    assert decision_regret(np.array([np.nan, 1.0]), np.array([0.0, 1.0]), axis=0) == float("inf")
    assert decision_regret(np.zeros(2), np.zeros(3), axis=0) == float("inf")
