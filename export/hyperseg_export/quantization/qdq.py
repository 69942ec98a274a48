"""The one place that writes QuantizeLinear and DequantizeLinear into a graph. It knows no family.

* 8 bits on both sides: x -> Q -> DQ -> product <- DQ <- weight. Each product has nodes of its own: ONNX Runtime 1.31
  fuses the four into one integer product only where nothing else reads them.
* Weights alone: product <- DQ(block by block) <- weight, the form that ONNX Runtime makes MatMulNBits from and that
  TensorRT takes for its weight-only products.

Weights are read when the graph is saved, one at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from hyperseg_export.onnx.lint import IR_DTYPES
from hyperseg_export.quantization.layers import Layer, block_of, layers_of, skipped, why_not
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
        if reason is None and not recipe.scheme.weights_alone:
            reason = _unknown_range(layer, ranges)
        if reason is not None:
            wide.setdefault(layer.name, reason)
        if layer.name not in wide:
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
    integers, scale, attributes = _weight(model, layer, recipe)
    for index, node in enumerate(layer.nodes):
        x, stem = node.inputs[0], layer.name if index == 0 else f"{layer.name}.{index}"
        if not recipe.scheme.weights_alone and x is not None:
            step = _nudged(scale_of(ranges[x.name or ""], recipe.scheme), x)
            node.replace_input_with(0, _rounded_input(model, node, x, step, recipe.scheme, stem))
        up = _node(node, "DequantizeLinear", [integers, scale], attributes, f"{stem}.dequantized")
        _describe(up, scale.dtype, integers.shape)
        model.graph.insert_before(node, [up])
        node.replace_input_with(1, up.outputs[0])


def _weight(model: ir.Model, layer: Layer, recipe: LayerRecipe) -> tuple[ir.Value, ir.Value, list[ir.Attr]]:
    """The rounded weight, its scales, and the attributes of a DequantizeLinear that puts them together."""
    weight, tensor = layer.weight, layer.weight.const_value
    assert tensor is not None
    scheme, dtype = recipe.scheme, weight.dtype
    name, stored = layer.name, IR_DTYPES[recipe.scheme.dtype]
    block = block_of(layer, recipe.block) if scheme.weights_alone else None

    def rounded() -> Rounded:
        values = tensor.numpy().astype(np.float32)
        return in_blocks(values, block, scheme) if block else per_channel(values, layer.axis, scheme)

    assert dtype is not None and weight.shape is not None
    scales = rounded().scales.astype(dtype.numpy())
    lazy = ir.LazyTensor(
        lambda: ir.Tensor(rounded().values, dtype=stored, name=name), dtype=stored, shape=weight.shape, name=name
    )
    del model.graph.initializers[name]
    weight.name = None
    integers = _initializer(model, name, lazy)
    scale = _initializer(model, f"{name}.scale", ir.Tensor(scales, name=f"{name}.scale"))
    axis = ir.AttrInt64("axis", 0 if block else layer.axis)
    return integers, scale, [axis, ir.AttrInt64("block_size", block)] if block else [axis]


def _rounded_input(
    model: ir.Model, node: ir.Node, x: ir.Value, scale: np.ndarray, scheme: Scheme, stem: str
) -> ir.Value:
    """`x` through a QuantizeLinear and a DequantizeLinear of its own."""
    assert x.dtype is not None
    stored = IR_DTYPES[scheme.dtype]
    factor = _initializer(model, f"{stem}.input_scale", ir.Tensor(scale.astype(x.dtype.numpy())))
    zero = _zero_point(model, stored)
    down = _node(node, "QuantizeLinear", [x, factor, zero], [], f"{stem}.input_quantized")
    up = _node(node, "DequantizeLinear", [down.outputs[0], factor, zero], [], f"{stem}.input_dequantized")
    _describe(down, stored, x.shape)
    _describe(up, x.dtype, x.shape)
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
    return _initializer(model, name, ir.Tensor(np.zeros((), stored.numpy()), name=name))


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


def _initializer(model: ir.Model, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    shape = ir.Shape(tensor.shape.numpy())
    value = ir.Value(name=name, shape=shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    model.graph.register_initializer(value)
    return value


def _node(beside: ir.Node, kind: str, inputs: list[ir.Value], attributes: list[ir.Attr], output: str) -> ir.Node:
    """A node named after the module of the layer's node; its output is called `output`."""
    module = (beside.name or "").rpartition("/")[0]
    made = ir.Node("", kind, inputs, attributes=attributes, name=f"{module}/{output}")
    made.outputs[0].name = output
    return made


def _describe(node: ir.Node, dtype: ir.DataType | None, shape: ir.Shape | None) -> None:
    """Type and shape of what a node makes, for whoever reads the graph before it is saved."""
    output = node.outputs[0]
    output.shape = shape
    output.type = None if dtype is None else ir.TensorType(dtype)


def products(model: ir.Model) -> int:
    """How many products of a graph have a rounded weight."""
    constants = (node.inputs[0] for node in model.graph if node.op_type == "DequantizeLinear")
    return sum(value is not None and value.is_initializer() for value in constants)
