"""Where ONNX Runtime multiplies integers: every constant weight of a quantised graph, on the optimised graph."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest

from hyperseg_export.quantization.recipes import PRESETS
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import read_manifest
from hyperseg_runtime.families import FAMILIES
from support import others_in_full

OF_TWO_MATRICES = {("unilseg", "mask_decoder", "int8"): 1}
"""Products that ONNX Runtime makes a Gemm of rounded floats: UniLSeg's query position, from one row for each text."""
FUSED = {"int8": "MatMulIntegerToFloat", "int4": "MatMulNBits"}


def optimised(bundle: Path, graph: str, scratch: Path) -> Counter[str]:
    """Operators of a graph as ONNX Runtime runs it."""
    path = bundle / read_manifest(bundle).graph(graph).file
    options = OnnxRuntimeBackend(threads=1).session_options()
    options.optimized_model_filepath = str(scratch / f"{graph}.onnx")
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(scratch / f"{graph}.onnx", load_external_data=False).graph.node)


@pytest.mark.parametrize("family", [pytest.param(name, marks=others_in_full(name)) for name in FAMILIES])
@pytest.mark.parametrize("recipe", ["int8", "int4"])
def test_every_product_with_a_constant_weight_is_fused(
    rounded_bundle: Callable[..., Path], tmp_path: Path, recipe: str, family: str
) -> None:
    bundle = rounded_bundle(recipe, family)
    schemes, fused = set(), 0
    for entry in read_manifest(bundle).graphs:
        if entry.rounded is None:
            continue
        schemes.add(str(entry.rounded.scheme))
        written = Counter(node.op_type for node in onnx.load(bundle / entry.file, load_external_data=False).graph.node)
        found = optimised(bundle, entry.spec.name, tmp_path)
        # Convolutions in 8 bits are TensorRT's; ONNX Runtime computes them from rounded floats.
        floats = written["Conv"] + OF_TWO_MATRICES.get((family, entry.spec.name, entry.rounded.scheme), 0)
        assert found[FUSED[entry.rounded.scheme]] == entry.rounded.products - floats, (entry.spec.name, found)
        fused += found[FUSED[entry.rounded.scheme]]
    assert fused > 0
    assert schemes == {PRESETS[recipe](entry.spec) for entry in read_manifest(bundle).graphs if entry.rounded}
