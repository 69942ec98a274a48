"""Products whose activations are rounded by what each call brings: no calibration, and ONNX Runtime alone.

x -> DynamicQuantizeLinear -> MatMulInteger <- weight in 8 bits; times both scales. ONNX Runtime 1.31 makes one
DynamicQuantizeMatMul of the five, or MatMulIntegerToFloat where several products read one x. TensorRT has none of these
operators.
"""

import onnx_ir as ir

from hyperseg_export.quantization.layers import Layer
from hyperseg_export.quantization.nodes import describe, node, rounded_weight, stem_of
from hyperseg_export.quantization.rounding import per_channel
from hyperseg_runtime.contracts.quantization import Scheme

PRODUCT = "MatMulInteger"


def round_by_call(model: ir.Model, layer: Layer) -> None:
    """Round a layer of matrix products in float32, in place."""
    scheme = Scheme.INT8_DYNAMIC
    integers, scales = rounded_weight(model, layer, scheme, lambda values: per_channel(values, layer.axis, scheme))
    for index, old in enumerate(layer.nodes):
        x, output = old.inputs[0], old.outputs[0]
        assert x is not None
        stem = stem_of(layer, index)
        outputs = [f"{stem}.input_{part}" for part in ("rounded", "scale", "zero_point")]
        down = node(old, "DynamicQuantizeLinear", [x], [], *outputs)
        product = node(old, PRODUCT, [down.outputs[0], integers[index], down.outputs[2]], [], f"{stem}.integers")
        to = ir.AttrInt64("to", int(ir.DataType.FLOAT))
        wide = node(old, "Cast", [product.outputs[0]], [to], f"{stem}.wide")
        scale = node(old, "Mul", [down.outputs[1], scales], [], f"{stem}.both_scales")
        name = output.name or ""
        output.name = f"{name}.before"
        scaled = node(old, "Mul", [wide.outputs[0], scale.outputs[0]], [], name)
        describe(scaled, output.dtype, output.shape)
        model.graph.insert_before(old, [down, product, wide, scale, scaled])
        output.replace_all_uses_with(scaled.outputs[0], replace_graph_outputs=True)
        model.graph.remove(old, safe=True)
