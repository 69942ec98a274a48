"""Every operator of every graph has a kernel on CUDA in ONNX Runtime, for the types that the graph has there."""

from pathlib import Path

import onnx
import onnx.inliner
import onnx.shape_inference
from onnx import TensorProto

from cuda_kernels import CUDA_KERNELS
from hyperseg_runtime.backends.onnxruntime.cuda import SIZE_OPERATORS
from hyperseg_runtime.bundle.opening import read_manifest

FUNCTIONS = [("", "CastLike"), ("", "GroupNormalization")]
"""Operators that the library has no kernel for anywhere: it takes the bodies that ONNX gives them."""


def test_every_operator_has_a_kernel_for_its_type(family_bundle_dir: Path) -> None:
    for entry in read_manifest(family_bundle_dir).graphs:
        assert without_kernel(family_bundle_dir / entry.file) == [], entry.spec.name


def without_kernel(path: Path) -> list[tuple[str, str]]:
    """Operator and type of the nodes that would run on the host though they are more than arithmetic on sizes."""
    model = onnx.load(path, load_external_data=False)
    written = onnx.inliner.inline_selected_functions(
        onnx.inliner.inline_local_functions(model), FUNCTIONS, inline_schema_functions=True
    )
    known = onnx.shape_inference.infer_shapes(written).graph
    types = {t.name: t.data_type for t in known.initializer}
    types |= {v.name: v.type.tensor_type.elem_type for v in (*known.input, *known.value_info, *known.output)}
    missing = []
    for node in known.node:
        if node.op_type == "Constant":
            continue
        kind = TensorProto.DataType.Name(types.get(node.input[1 if node.op_type == "Where" else 0], 0)).lower()
        counts = node.op_type in SIZE_OPERATORS and kind == "int64"
        if not counts and kind not in CUDA_KERNELS.get(node.op_type, ()):
            missing.append((node.op_type, kind))
    return missing
