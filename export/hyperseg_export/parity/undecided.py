"""Mask queries that float32 leaves undecided.

A decoder of masks takes the sign of each logit for a decision about what a query looks at next. Where a logit is as
near to zero as rounding is large, two right implementations decide otherwise, and from there on that one query is
another: HyperSeg-3B with random weights, on one photograph of two, has a query whose score differs by 9e-3 of the range
between the module in float32 and the same module in float64, while the median query differs by 5e-5.

Such queries are found by asking the reference itself again: a query is undecided if it moves by more than its tolerance
where the inputs move by what rounding would move them. There, that found 4 of 100 queries, and the graph's two outliers
were among them.
"""

from collections.abc import Callable, Mapping

import numpy as np

from hyperseg_export.parity.recording import Arrays

RUNS = 8
"""A decision on the edge falls on either side of it about as often: 1 of 256 is missed."""
MOVED_BY = 5e-7
"""Of every number of an input, as standard deviation: four units in the last place of float32."""
MOST = 0.1
"""If more of the queries move, rounding is not what moves them: then all are judged."""


def undecided_queries(
    again: Callable[[Arrays], Arrays], inputs: Arrays, axes: Mapping[str, int], tolerance_of: Callable[[str], float]
) -> np.ndarray:
    """Which queries of a call are undecided, (Q,) bool.

    again  the reference: inputs -> outputs
    axes   outputs with something for every query -> the axis of queries
    """
    expected = again(inputs)
    axes = {name: axis for name, axis in axes.items() if name in expected}
    moved = np.zeros({expected[name].shape[axis] for name, axis in axes.items()}.pop(), bool)
    for seed in range(RUNS):
        random = np.random.default_rng(seed)
        made = again({name: _moved(array, random) for name, array in inputs.items()})
        for name, axis in axes.items():
            moved |= query_errors(made[name], expected[name], axis) > tolerance_of(name)
    return moved if moved.mean() <= MOST else np.zeros_like(moved)


def query_errors(found: np.ndarray, expected: np.ndarray, axis: int) -> np.ndarray:
    """The largest difference of each query in units of the range of all, (Q,)."""
    wide = expected.astype(np.float64)
    extent = float(wide.max() - wide.min()) or 1.0
    others = tuple(other for other in range(wide.ndim) if other != axis)
    errors: np.ndarray = np.abs(found - wide).max(others) / extent
    return errors


def _moved(array: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if array.dtype != np.float32:
        return array
    return (array * (1 + MOVED_BY * random.standard_normal(array.shape))).astype(np.float32)
