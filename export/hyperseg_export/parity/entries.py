"""From arrays of two runs to rows of a manifest, and the verdict over them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from hyperseg_export.parity.compare import cosine_distance, decision_regret, mask_disagreement, worst_error
from hyperseg_export.parity.recording import Arrays
from hyperseg_export.parity.tolerances import COSINE, DECISION, MASK_IOU, Tolerances
from hyperseg_export.parity.undecided import Doubt, doubt, query_errors
from hyperseg_runtime.bundle.manifest import Measure, ParityEntry
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import ParityError

Engine = Literal["onnxruntime", "torch", "tensorrt"]
Undecided = Callable[[Arrays, Arrays], Doubt]
"""What was found, what was expected -> what rounding decides about."""
NO_DOUBT = Doubt(np.zeros((), bool), {})
ERROR: Measure = "error / range"


def compare_graph(
    graph: str,
    precision: Precision,
    found: Arrays,
    expected: Arrays,
    engine: Engine,
    tolerances: Tolerances,
    undecided: Undecided | None = None,
) -> Iterator[ParityEntry]:
    """Of one call, for each output one row per measure. In float32 `undecided` is asked about queries that differ:
    those that it names are left out, and where it allows more than the tolerance that holds.
    """
    open_to = undecided(found, expected) if precision is Precision.FP32 and undecided else NO_DOUBT
    for name, wanted in expected.items():
        for measure, error, tolerance in _measured(name, precision, (found[name], wanted), engine, tolerances):
            usual, left_out = tolerance, 0
            if tolerance < error < np.inf and measure == ERROR and name in open_to.allowed:
                tolerance = open_to.allowed[name]
                if open_to.queries.any():
                    error = float(query_errors(found[name], wanted, tolerances.queries[name])[~open_to.queries].max())
                    left_out = int(open_to.queries.sum())
            yield ParityEntry(
                graph=graph,
                output=name,
                measure=measure,
                engine=engine,
                worst_error=error,
                tolerance=tolerance,
                undecided=left_out,
                steep=tolerance > usual,
                passed=error <= tolerance,
            )


def undecided_in(again: Callable[[Arrays], Arrays], inputs: Arrays, tolerances: Tolerances) -> Undecided:
    """For `compare_graph`, of one call of the reference `again`."""

    def undecided(found: Arrays, expected: Arrays) -> Doubt:
        return doubt(again, inputs, found, expected, tolerances.queries, tolerances.of)

    return undecided


def worst_of(graph: str, rows: Iterable[ParityEntry]) -> tuple[ParityEntry, ...]:
    """The worst row of each output and measure over all calls; one that failed is worse than any that passed, whose
    tolerance may be wider. Raises ParityError if there was no call.
    """
    worst: dict[tuple[str, str], ParityEntry] = {}
    for row in rows:
        known = worst.get((row.output, row.measure))
        if known is None or (known.passed, -known.worst_error) > (row.passed, -row.worst_error):
            worst[row.output, row.measure] = row
    if not worst:
        raise ParityError(f"graph {graph} was not called by the reference requests: nothing to compare")
    return tuple(worst.values())


def require_passed(entries: Sequence[ParityEntry], consequence: str) -> None:
    """Raise ParityError naming the worst of the outputs that differ too much, and what that means."""
    failed = [entry for entry in entries if not entry.passed]
    if failed:
        worst = max(failed, key=lambda entry: entry.worst_error / entry.tolerance)
        reference = "ONNX graph" if worst.engine == "tensorrt" else "module"
        raise ParityError(
            f"graph {worst.graph}: output {worst.output} differs from its {reference}, {worst.measure} is "
            f"{worst.worst_error:.1e}, allowed {worst.tolerance:.0e} ({len(failed)} outputs fail); {consequence}"
        )


def _measured(
    name: str,
    precision: Precision,
    pair: tuple[np.ndarray, np.ndarray],
    engine: Engine,
    tolerances: Tolerances,
) -> Iterator[tuple[Measure, float, float]]:
    typed = precision is not Precision.FP32
    if typed:
        yield "cosine distance", cosine_distance(*pair), COSINE[precision]
    else:
        yield ERROR, worst_error(*pair), tolerances.of(name)
    if name in tolerances.masks and (typed or engine == "tensorrt"):
        from_value = tolerances.masks[name]
        yield "1 - mask IoU", mask_disagreement(*pair, from_value), MASK_IOU[precision]
    if name in tolerances.choices and engine == "tensorrt":
        axis = tolerances.choices[name]
        yield "decision regret", decision_regret(*pair, axis), DECISION[precision]
