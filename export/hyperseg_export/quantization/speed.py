"""How long a graph takes before and after it was rounded, on calls that were recorded of real requests."""

from pathlib import Path

import numpy as np

from hyperseg_bench.measure import alternate, ratio
from hyperseg_export.parity.saved_calls import read_calls
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.contracts.graph_spec import GraphSpec

ROUNDS = 9


def time_ratio(spec: GraphSpec, before: Path, after: Path, recorded: Path, threads: int | None = None) -> float:
    """Time of all recorded calls of the graph in the file `after`, in units of that in `before`: both in turn, median
    of `ROUNDS`.
    """
    calls = [call.inputs for call in read_calls(recorded, spec.name)]
    with OnnxRuntimeBackend(threads) as backend:
        old, new = (backend.open(spec, path) for path in (before, after))
        # A call writes the rows of its own tokens into the caches, so that repeated ones do the same work.
        prepared = [{name: backend.upload(np.array(values)) for name, values in inputs.items()} for inputs in calls]
        first, second = alternate(
            [lambda: [old.run(inputs) for inputs in prepared], lambda: [new.run(inputs) for inputs in prepared]], ROUNDS
        )
    return ratio(second, first)
