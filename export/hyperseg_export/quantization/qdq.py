"""The one place that writes QuantizeLinear and DequantizeLinear into a graph. It knows no family.

* 8 bits on both sides: x -> Q -> DQ -> product <- DQ <- weight. Each product has nodes of its own: ONNX Runtime 1.31
  fuses the four into one integer product only where nothing else reads them.
* Weights alone: product <- DQ(block by block) <- weight, the form that ONNX Runtime makes MatMulNBits from and that
  TensorRT takes for its weight-only products.
* Activations by what each call brings: `dynamic`.

Weights are read when the graph is saved, one at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from hyperseg_export.onnx.lint import IR_DTYPES
from hyperseg_export.quantization.dynamic import PRODUCT, round_by_call
from hyperseg_export.quantization.layers import Layer, block_of, layers_of, skipped, why_not
from hyperseg_export.quantization.nodes import describe, initializer, rounded_weight, stem_of
from hyperseg_export.quantization.nodes import node as new_node
from hyperseg_export.quantization.rounding import Rounded, in_blocks, per_channel, scale_of
from hyperseg_runtime.contracts.quantization import Scheme

ZERO_POINT = "zero_point"


@dataclass(frozen=True)
class LayerRecipe:
    """How the layers of one graph are rounded.

    block  largest size of blocks where weights alone are rounded
    skip   regular expression for names of layers -> why they stay as they are
    """

    scheme: Scheme
    block: int = 128
    skip: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Quantised:
    """What became of a graph's layers: names of those rounded; name -> reason of the others."""

    layers: tuple[str, ...]
    left_wide: Mapping[str, str]


def quantise(model: ir.Model, recipe: LayerRecipe, ranges: Mapping[str, float]) -> Quantised:
    """Round the layers of `model`, in place. `ranges`: name of an activation -> the largest size to be told apart."""
    layers = layers_of(model)
    wide = dict(skipped(layers, recipe.skip))
    done = []
    for layer in layers:
        reason = why_not(layer, recipe.scheme, recipe.block)
        if reason is None and recipe.scheme.has_ranges:
            reason = _unknown_range(layer, ranges)
        if reason is not None:
            wide.setdefault(layer.name, reason)
        if layer.name in wide:
            continue
        if recipe.scheme is Scheme.INT8_DYNAMIC:
            round_by_call(model, layer)
        else:
            _quantise_layer(model, layer, recipe, ranges)
        done.append(layer.name)
    return Quantised(tuple(done), wide)


def _unknown_range(layer: Layer, ranges: Mapping[str, float]) -> str | None:
    for value in layer.inputs:
        name = value.name or ""
        if name not in ranges:
            return "no calibration request reached it"
        if ranges[name] == 0:
            return "its inputs were all zero in calibration"
    return None


def _quantise_layer(model: ir.Model, layer: Layer, recipe: LayerRecipe, ranges: Mapping[str, float]) -> None:
    scheme = recipe.scheme
    block = block_of(layer, recipe.block) if scheme.weights_alone else None

    def to_rounded(values: np.ndarray) -> Rounded:
        return in_blocks(values, block, scheme) if block else per_channel(values, layer.axis, scheme)

    integers, scale = rounded_weight(model, layer, scheme, to_rounded)
    attributes = [ir.AttrInt64("axis", 0 if block else layer.axis)]
    attributes += [ir.AttrInt64("block_size", block)] if block else []
    for index, node in enumerate(layer.nodes):
        x, stem = node.inputs[0], stem_of(layer, index)
        if not scheme.weights_alone and x is not None:
            step = _nudged(scale_of(ranges[x.name or ""], scheme), x)
            node.replace_input_with(0, _rounded_input(model, node, x, step, scheme, stem))
        unfused = scheme is Scheme.INT8_WEIGHTS or (scheme is Scheme.INT8 and not _is_fused(node, x))
        zeros = [_zeros(model, scale, stem)] if unfused else []
        up = new_node(node, "DequantizeLinear", [integers[index], scale, *zeros], attributes, f"{stem}.dequantized")
        describe(up, scale.dtype, integers[index].shape)
        model.graph.insert_before(node, [up])
        node.replace_input_with(1, up.outputs[0])


def _is_fused(node: ir.Node, x: ir.Value | None) -> bool:
    """Whether ONNX Runtime 1.31 multiplies the integers of a node. A product of two matrices with a sum behind it
    becomes a Gemm of rounded floats before integers are looked for (its graph transformer MatMulAddFusion).
    """
    if node.op_type != "MatMul":
        return False
    is_matrix = x is not None and x.shape is not None and len(x.shape) == 2
    return not (is_matrix and any(use.node.op_type == "Add" for use in node.outputs[0].uses()))


def _zeros(model: ir.Model, scale: ir.Value, stem: str) -> ir.Value:
    """A zero for every scale. Where ONNX Runtime 1.31 changes weights into U8 (see `cpu_defaults`), it gives a
    DequantizeLinear without them a single one, which the operator does not take for blocks and channels. Those that are
    fused are never run."""
    assert scale.shape is not None
    values = np.zeros(scale.shape.numpy(), np.int8)
    return initializer(model, f"{stem}.{ZERO_POINT}", ir.Tensor(values, name=f"{stem}.{ZERO_POINT}"))


def _rounded_input(
    model: ir.Model, node: ir.Node, x: ir.Value, scale: np.ndarray, scheme: Scheme, stem: str
) -> ir.Value:
    """`x` through a QuantizeLinear and a DequantizeLinear of its own."""
    assert x.dtype is not None
    stored = IR_DTYPES[scheme.dtype]
    factor = initializer(model, f"{stem}.input_scale", ir.Tensor(scale.astype(x.dtype.numpy())))
    zero = _zero_point(model, stored)
    down = new_node(node, "QuantizeLinear", [x, factor, zero], [], f"{stem}.input_quantized")
    up = new_node(node, "DequantizeLinear", [down.outputs[0], factor, zero], [], f"{stem}.input_dequantized")
    describe(down, stored, x.shape)
    describe(up, x.dtype, x.shape)
    model.graph.insert_before(node, [down, up])
    return up.outputs[0]


def _zero_point(model: ir.Model, stored: ir.DataType) -> ir.Value:
    """A zero, which says which type a QuantizeLinear makes.

    The attribute `output_dtype` says the same, but ONNX Runtime 1.31 fuses no product whose input has it (0 of 16 in a
    language model, with the zero 16 of 16). TensorRT takes zero points that are zero.
    """
    name = f"{ZERO_POINT}.{stored.name.lower()}"
    if name in model.graph.initializers:
        return model.graph.initializers[name]
    return initializer(model, name, ir.Tensor(np.zeros((), stored.numpy()), name=name))


def _nudged(scale: np.ndarray, x: ir.Value) -> np.ndarray:
    """One step of the number format more for each reader of `x` that was rounded before.

    ONNX Runtime 1.31 merges equal QuantizeLinear nodes (CommonSubexpressionElimination), and what two products read is
    not fused. Scales that differ in their last bit are not merged, and round the same. It can go when
    tests/export/quantization/test_fusion.py passes without it.
    """
    assert x.dtype is not None
    kind = x.dtype.numpy()
    before = sum(use.node.op_type == "QuantizeLinear" for use in x.uses())
    found = scale.astype(kind)
    for _ in range(before):
        found = np.nextafter(found, np.asarray(np.inf, kind))
    return np.asarray(found)


def products(model: ir.Model) -> int:
    """How many products of a graph have a rounded weight."""
    constants = [node.inputs[0] for node in model.graph if node.op_type == "DequantizeLinear"]
    constants += [node.inputs[1] for node in model.graph if node.op_type == PRODUCT]
    return sum(value is not None and value.is_initializer() for value in constants)
