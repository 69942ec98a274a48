"""Mask queries that float32 leaves undecided.

A decoder of masks takes the sign of each logit for a decision about what a query looks at next, and a detector gives
its queries to proposals in the order of their scores. Where a logit is as near to zero as rounding is large, or two
scores as near to each other, two right implementations decide otherwise, and from there on that one query is another.
Measured with random weights at full size, PyTorch in float32 beside a right graph or beside itself in float64:

* HyperSeg-3B on one photograph of two: a query's score differs by 9e-3 of the range, the median query's by 5e-5;
* HIPIE on both: one and three pairs of neighbours among 910 proposals change places and differ by up to 0.5.

Such queries are found by asking the reference itself again: a query is undecided if it moves by more than its tolerance
where the inputs move by what rounding would move them. All of those above were found in one to four runs.
"""

from collections.abc import Callable, Mapping

import numpy as np

from hyperseg_export.parity.recording import Arrays

RUNS = 8
"""At most. A decision on the edge falls on either side of it about as often: 1 of 256 is missed."""
MOVED_BY = 1e-6
"""Of every number of an input, as standard deviation: eight units in the last place of float32."""
MOST = 0.1
"""If more of the queries differ, or move, that is no decision about single ones."""


def undecided_queries(
    again: Callable[[Arrays], Arrays],
    inputs: Arrays,
    expected: Arrays,
    axes: Mapping[str, int],
    tolerance_of: Callable[[str], float],
    differing: np.ndarray,
) -> np.ndarray:
    """Which of the `differing` queries are undecided; both (Q,) bool.

    again     the reference: inputs -> outputs
    expected  what it made of `inputs`
    axes      outputs with something for every query -> the axis of queries
    """
    left = differing.copy()
    for seed in range(RUNS if differing.mean() <= MOST else 0):
        random = np.random.default_rng(seed)
        made = again({name: _moved(array, random) for name, array in inputs.items()})
        moved = differing_queries(made, expected, axes, tolerance_of)
        if moved.mean() <= MOST:
            left &= ~moved
        if not left.any():
            break
    undecided: np.ndarray = differing & ~left
    return undecided


def differing_queries(
    found: Arrays, expected: Arrays, axes: Mapping[str, int], tolerance_of: Callable[[str], float]
) -> np.ndarray:
    """Which queries differ by more than their tolerance in any of their outputs, (Q,) bool; () where there are none."""
    differing = np.zeros((), bool)
    for name, axis in axes.items():
        if name in expected and found[name].shape == expected[name].shape:
            differing = differing | (query_errors(found[name], expected[name], axis) > tolerance_of(name))
    return differing


def query_errors(found: np.ndarray, expected: np.ndarray, axis: int) -> np.ndarray:
    """The largest difference of each query in units of the range of all, (Q,)."""
    wide = expected.astype(np.float64)
    extent = float(wide.max() - wide.min()) or 1.0
    others = tuple(other for other in range(wide.ndim) if other != axis)
    with np.errstate(invalid="ignore"):  # infinity from infinity: NaN, which is no error beyond a tolerance
        errors: np.ndarray = np.abs(found - wide).max(others) / extent
    return errors


def _moved(array: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if array.dtype != np.float32:
        return array
    return (array * (1 + MOVED_BY * random.standard_normal(array.shape))).astype(np.float32)
