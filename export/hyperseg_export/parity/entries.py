"""From arrays of two runs to rows of a manifest, and the verdict over them."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from hyperseg_export.parity.compare import cosine_distance, decision_regret, mask_disagreement, worst_error
from hyperseg_export.parity.recording import Arrays
from hyperseg_export.parity.tolerances import COSINE, DECISION, DECISION_AXES, MASK_IOU, MASK_NAMES, tolerance_of
from hyperseg_runtime.bundle.manifest import Measure, ParityEntry
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import ParityError

Engine = Literal["onnxruntime", "torch", "tensorrt"]


def compare_graph(
    graph: str, precision: Precision, found: Sequence[Arrays], expected: Sequence[Arrays], engine: Engine
) -> Iterator[ParityEntry]:
    """The worst of several calls, for each output one row per measure."""
    pairs = list(zip(found, expected, strict=True))
    for name in expected[0]:
        arrays = [(made[name], wanted[name]) for made, wanted in pairs]
        for measure, error, tolerance in _measured(name, precision, arrays, engine):
            yield ParityEntry(
                graph=graph,
                output=name,
                measure=measure,
                engine=engine,
                worst_error=error,
                tolerance=tolerance,
                passed=error <= tolerance,
            )


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
    name: str, precision: Precision, arrays: Sequence[tuple[np.ndarray, np.ndarray]], engine: Engine
) -> Iterator[tuple[Measure, float, float]]:
    typed = precision is not Precision.FP32
    if typed:
        yield "cosine distance", max(cosine_distance(*pair) for pair in arrays), COSINE[precision]
    else:
        yield "error / range", max(worst_error(*pair) for pair in arrays), tolerance_of(name)
    if name in MASK_NAMES and (typed or engine == "tensorrt"):
        yield "1 - mask IoU", max(mask_disagreement(*pair) for pair in arrays), MASK_IOU[precision]
    if name in DECISION_AXES and engine == "tensorrt":
        axis = DECISION_AXES[name]
        yield "decision regret", max(decision_regret(*pair, axis) for pair in arrays), DECISION[precision]
