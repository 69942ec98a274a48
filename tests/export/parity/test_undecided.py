"""Queries that rounding decides about are left out of a comparison; no others are."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from hyperseg_export.parity.entries import compare_graph, undecided_in
from hyperseg_export.parity.recording import Arrays
from hyperseg_export.parity.tolerances import FEATURE, Tolerances
from hyperseg_export.parity.undecided import MOST, query_errors
from hyperseg_runtime.bundle.manifest import ParityEntry
from hyperseg_runtime.contracts.precision import Precision

QUERIES, EDGE = 20, 7
TOLERANCES = Tolerances(queries={"scores": 1, "other": 1})
INPUTS = {"states": np.linspace(1, 2, QUERIES * 4, dtype=np.float32).reshape(1, QUERIES, 4), "count": np.array([3])}


def decoder(inputs: Arrays, on_the_edge: tuple[int, ...] = (EDGE,)) -> Arrays:
    """A score for each query; one on the edge gets another where its state is below what it is here."""
    states = inputs["states"]
    scores = states.sum(-1, keepdims=True, dtype=np.float32)
    for query in on_the_edge:
        if states[0, query, 0] < INPUTS["states"][0, query, 0]:
            scores[0, query] += 0.5
    return {"scores": scores, "hidden": states * 2}


def judged(found: Arrays, on_the_edge: tuple[int, ...] = (EDGE,)) -> ParityEntry:
    def again(inputs: Arrays) -> Arrays:
        return decoder(inputs, on_the_edge)

    undecided = undecided_in(again, INPUTS, TOLERANCES)
    rows = compare_graph("g", Precision.FP32, found, again(INPUTS), "onnxruntime", TOLERANCES, undecided)
    return next(row for row in rows if row.output == "scores")


def steep(inputs: Arrays, by: float = 50) -> Arrays:
    """Scores that go up by so much where their state goes up by 1: rounding moves many beyond their tolerance."""
    outputs = decoder(inputs, ())
    outputs["scores"] = outputs["scores"] + by * (inputs["states"] - INPUTS["states"])[..., :1]
    return outputs


def other(query: int, by: float = 0.5) -> Arrays:
    found = decoder(INPUTS)
    found["scores"][0, query] += by
    return found


def test_a_query_that_rounding_decides_about_may_differ() -> None:
    entry = judged(other(EDGE))
    assert entry.passed and entry.undecided == 1 and entry.worst_error == 0
    assert entry.what() == "error / range, undecided queries: 1"


def test_a_number_that_is_none_is_no_decision() -> None:
    assert not judged(other(EDGE, np.nan)).passed


@pytest.mark.parametrize("query", [0, EDGE - 1, EDGE + 1, QUERIES - 1])
def test_another_query_may_not(query: int) -> None:
    found = other(EDGE)
    found["scores"][0, query] += 0.01
    entry = judged(found)
    assert not entry.passed and entry.undecided == 1
    assert entry.worst_error == pytest.approx(0.01 / np.ptp(decoder(INPUTS)["scores"]), rel=1e-3)


def test_an_error_in_all_queries_is_no_decision() -> None:
    entry = judged({name: array * 1.001 for name, array in decoder(INPUTS).items()})
    assert not entry.passed


def test_where_many_queries_move_it_is_not_rounding() -> None:
    many = tuple(range(QUERIES // 2))  # of which half move each time
    entry = judged(other(0), on_the_edge=many)
    assert not entry.passed and entry.undecided == 0


@pytest.mark.parametrize(
    ("reference", "times", "passed"),
    [
        (steep, 1.5, True),  # nine of ten move by less than about the tolerance
        (steep, 6, False),
        (partial(steep, by=5000), 9, True),
        (partial(steep, by=5000), 11, False),
        (decoder, 1.5, False),
    ],
)
def test_numbers_that_follow_inputs_steeply_may_differ_by_what_rounding_moves_most_of_them(
    reference: Callable[[Arrays], Arrays], times: float, passed: bool
) -> None:
    expected = reference(INPUTS)
    found = {name: array.copy() for name, array in expected.items()}
    error = times * TOLERANCES.of("scores")
    found["scores"][0] += error * np.ptp(expected["scores"])
    undecided = undecided_in(reference, INPUTS, TOLERANCES)
    row, *_ = compare_graph("g", Precision.FP32, found, expected, "onnxruntime", TOLERANCES, undecided)
    assert row.output == "scores" and row.passed == passed and row.undecided == 0
    assert row.worst_error == pytest.approx(error, rel=1e-2)  # and is told as it is
    assert row.steep == (reference is not decoder) == (row.tolerance > TOLERANCES.of("scores"))
    assert ("wider tolerance" in row.what()) == row.steep  # never unnoticed


def test_where_many_queries_differ_none_is_left_out() -> None:
    found = other(EDGE)
    found["scores"][0, : int(MOST * QUERIES)] += 0.5
    entry = judged(found)
    assert not entry.passed and entry.undecided == 0


def test_nothing_is_asked_again_where_outputs_agree() -> None:
    def again(inputs: Arrays) -> Arrays:
        raise AssertionError("asked")

    expected = decoder(INPUTS)
    undecided = undecided_in(again, INPUTS, TOLERANCES)
    assert all(
        row.passed
        for row in compare_graph("g", Precision.FP32, expected, expected, "onnxruntime", TOLERANCES, undecided)
    )


def test_outputs_without_queries_are_judged_whole() -> None:
    found = decoder(INPUTS)
    found["hidden"] = found["hidden"].copy()
    found["hidden"][0, EDGE] += 1
    undecided = undecided_in(decoder, INPUTS, TOLERANCES)
    rows = compare_graph("g", Precision.FP32, found, decoder(INPUTS), "onnxruntime", TOLERANCES, undecided)
    assert {row.output: row.passed for row in rows} == {"scores": True, "hidden": False}


def test_errors_are_those_of_queries_in_units_of_the_range_of_all() -> None:
    expected = np.array([[[0.0, 2.0], [4.0, 1.0]]])
    found = expected + np.array([[[0.4, 0], [0, 0]]])
    assert query_errors(found, expected, 1).tolist() == [0.1, 0]
    assert query_errors(np.zeros((1, 2, 1)) + FEATURE, np.zeros((1, 2, 1)), 1) == pytest.approx(FEATURE)
