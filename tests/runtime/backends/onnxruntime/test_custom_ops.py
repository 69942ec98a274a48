"""Native kernels of our own operators inside the ONNX Runtime backend."""

from pathlib import Path

import numpy as np
import pytest

from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import BundleError
from hyperseg_runtime.session.pipeline import OpenedGraphs

ROUNDING = 1e-4
"""Of the largest value: two layers of float32 whose attention is summed in another order."""


def test_a_native_kernel_changes_no_more_than_rounding(bundle: Bundle, cpu_op_library: Path) -> None:
    found = [outputs(bundle, OnnxRuntimeBackend(1, libraries)) for libraries in ([], [cpu_op_library])]
    for body, native in zip(*(made.values() for made in found), strict=True):
        assert np.abs(native - body).max() <= ROUNDING * np.abs(body).max()
    assert any(not np.array_equal(found[0][name], found[1][name]) for name in found[0])  # another kernel ran


def test_a_library_that_cannot_be_loaded_is_named(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "broken.so").write_text("no library")
    with pytest.raises(BundleError, match=r"cannot open it.*broken\.so"):
        OpenedGraphs(bundle, OnnxRuntimeBackend(1, [tmp_path / "broken.so"]))["pixel_decoder"]


def outputs(bundle: Bundle, backend: OnnxRuntimeBackend) -> dict[str, np.ndarray]:
    """What the pixel decoder makes of random maps."""
    graph = OpenedGraphs(bundle, backend)["pixel_decoder"]
    random = np.random.default_rng(0)
    shapes = {
        tensor.name: [1 if isinstance(axis, str) else axis for axis in tensor.axes] for tensor in graph.spec.inputs
    }
    inputs = {name: backend.upload(random.normal(size=shape).astype(np.float32)) for name, shape in shapes.items()}
    return {name: buffer.to_host() for name, buffer in graph.run(inputs).items()}
