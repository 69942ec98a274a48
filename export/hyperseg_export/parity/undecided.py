"""Mask queries that float32 leaves undecided.

A decoder of masks takes the sign of each logit for a decision about what a query looks at next, and a detector gives
its queries to proposals in the order of their scores. Where a logit is as near to zero as rounding is large, or two
scores as near to each other, two right implementations decide otherwise, and from there on that one query is another.
Measured with random weights at full size, PyTorch in float32 beside a right graph or beside itself in float64:

* HyperSeg-3B on one photograph of two: a query's score differs by 9e-3 of the range, the median query's by 5e-5;
* HIPIE on both: one and three pairs of neighbours among 910 proposals change places and differ by up to 0.5.

Such queries are found by asking the reference itself again: a query is undecided if it moves by more than its tolerance
where the inputs move by what rounding would move them. All of those above were found in one to four runs
with moves of 1e-6.

The same runs tell of numbers that follow their inputs steeply, without any decision. HIPIE's predicted IoUs span 0.64
there, and PyTorch in float32 lies 0.3e-4 and 2.7e-4 of that from float64 (the median query of two photographs). A right
graph lies nearer, but up to 5.0e-4 from PyTorch. The tolerance of such numbers is wider.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from hyperseg_export.parity.recording import Arrays

RUNS = 8
"""At most. A decision on the edge falls on either side of it about as often: 1 of 256 is missed."""
MOVED_BY = 4e-6
"""Of every number of an input, as standard deviation. What all layers of HIPIE's detector round moves its predictions
as inputs do that move by 1.7e-6 (one photograph, PyTorch beside float64) or 3.4e-6 (another, PyTorch with one thread
beside a right graph)."""
MOST = 0.1
"""If more of the queries differ, or move, that is no decision about single ones."""
STEEP, WIDEST = 3.0, 10.0
"""A number may differ by STEEP times what nine of ten queries move by: of a normal distribution they stay within 1.6
standard deviations, and the difference of two within 4.7 where one of a thousand is the worst. It may not differ by
more than WIDEST times its tolerance: float32 could not be told from an error."""


@dataclass(frozen=True)
class Doubt:
    """What float32 leaves open in one call.

    queries  that rounding decides about, (Q,) bool; () where none differs by more than its tolerance
    allowed  output -> its tolerance, wider where its numbers follow the inputs steeply
    """

    queries: np.ndarray
    allowed: Mapping[str, float]


def doubt(
    again: Callable[[Arrays], Arrays],
    inputs: Arrays,
    found: Arrays,
    expected: Arrays,
    axes: Mapping[str, int],
    tolerance_of: Callable[[str], float],
) -> Doubt:
    """Of a call whose outputs were `found`. Where they agree nothing is asked.

    again     the reference: inputs -> outputs
    expected  what it made of `inputs`
    axes      outputs with something for every query -> the axis of queries
    """
    errors = _errors(found, expected, axes)
    allowed = {name: tolerance_of(name) for name in errors}
    differing = _beyond(errors, allowed)
    if not differing.any():
        return Doubt(differing, allowed)
    runs = (_errors(again(_moved(inputs, seed)), expected, axes) for seed in range(RUNS))
    first = next(runs)
    allowed = {name: _wider(tolerance, first[name]) for name, tolerance in allowed.items()}
    differing = _beyond(errors, allowed)
    if differing.mean() > MOST:
        return Doubt(np.zeros_like(differing), allowed)
    left = differing.copy()
    for run in chain((first,), runs):
        moved = _beyond(run, allowed)
        if moved.mean() <= MOST:
            left &= ~moved
        if not left.any():
            break
    return Doubt(differing & ~left, allowed)


def _wider(tolerance: float, moved: np.ndarray) -> float:
    return min(max(tolerance, STEEP * float(np.quantile(moved, 1 - MOST))), WIDEST * tolerance)


def _errors(found: Arrays, expected: Arrays, axes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Of every output that has something for every query, and the right shape."""
    return {
        name: query_errors(found[name], expected[name], axis)
        for name, axis in axes.items()
        if name in expected and found[name].shape == expected[name].shape
    }


def _beyond(errors: Mapping[str, np.ndarray], allowed: Mapping[str, float]) -> np.ndarray:
    """Which queries differ by more than their tolerance in any of their outputs, (Q,) bool; () where there are none."""
    beyond = np.zeros((), bool)
    for name, of_queries in errors.items():
        beyond = beyond | (of_queries > allowed[name])
    return beyond


def query_errors(found: np.ndarray, expected: np.ndarray, axis: int) -> np.ndarray:
    """The largest difference of each query in units of the range of all, (Q,)."""
    wide = expected.astype(np.float64)
    extent = float(wide.max() - wide.min()) or 1.0
    others = tuple(other for other in range(wide.ndim) if other != axis)
    with np.errstate(invalid="ignore"):  # infinity from infinity: NaN, which is no error beyond a tolerance
        errors: np.ndarray = np.abs(found - wide).max(others) / extent
    return errors


def _moved(inputs: Arrays, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        name: (array * (1 + MOVED_BY * random.standard_normal(array.shape))).astype(np.float32)
        if array.dtype == np.float32
        else array
        for name, array in inputs.items()
    }
