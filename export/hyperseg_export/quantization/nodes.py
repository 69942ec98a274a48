"""Nodes and constants that quantisation puts into a graph."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from hyperseg_export.onnx.lint import IR_DTYPES
from hyperseg_export.quantization.layers import Layer
from hyperseg_export.quantization.rounding import Rounded
from hyperseg_runtime.contracts.quantization import Scheme


def rounded_weight(
    model: ir.Model, layer: Layer, scheme: Scheme, to_rounded: Callable[[np.ndarray], Rounded]
) -> tuple[list[ir.Value], ir.Value]:
    """The rounded weight in place of the layer's, once for each of its nodes, and its scales in the type that it had.

    It is read and rounded when the graph is saved, and once for the scales: no two weights are in memory at a time.

    Once for each node, since ONNX Runtime 1.31 opens no graph in which two products share a weight of 8 bits where it
    makes U8 of them ("Attempt to replace the existing tensor"). Their bytes are in the file once.
    """
    weight, tensor, dtype = layer.weight, layer.weight.const_value, layer.weight.dtype
    assert tensor is not None and dtype is not None and weight.shape is not None
    shape, stored = weight.shape, IR_DTYPES[scheme.dtype]

    def rounded() -> Rounded:
        return to_rounded(tensor.numpy().astype(np.float32))

    def integers(name: str) -> ir.Value:
        lazy = ir.LazyTensor(
            lambda: ir.Tensor(rounded().values, dtype=stored, name=name), dtype=stored, shape=shape, name=name
        )
        return initializer(model, name, lazy)

    name = layer.name
    scales = rounded().scales.astype(dtype.numpy())
    del model.graph.initializers[name]
    weight.name = None
    copies = [integers(stem_of(layer, index)) for index in range(len(layer.nodes))]
    return copies, initializer(model, f"{name}.scale", ir.Tensor(scales, name=f"{name}.scale"))


def stem_of(layer: Layer, index: int) -> str:
    """What the names of all that is made for a node of the layer begin with."""
    return layer.name if index == 0 else f"{layer.name}.{index}"


def initializer(model: ir.Model, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    shape = ir.Shape(tensor.shape.numpy())
    value = ir.Value(name=name, shape=shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    model.graph.register_initializer(value)
    return value


def node(beside: ir.Node, kind: str, inputs: list[ir.Value], attributes: list[ir.Attr], *outputs: str) -> ir.Node:
    """A node named after the module of the node `beside` it, with outputs of these names."""
    module = (beside.name or "").rpartition("/")[0]
    made = ir.Node("", kind, inputs, attributes=attributes, num_outputs=len(outputs), name=f"{module}/{outputs[0]}")
    for value, name in zip(made.outputs, outputs, strict=True):
        value.name = name
    return made


def describe(made: ir.Node, dtype: ir.DataType | None, shape: ir.Shape | None) -> None:
    """Type and shape of what a node makes, for whoever reads the graph before it is saved."""
    output = made.outputs[0]
    output.shape = shape
    output.type = None if dtype is None else ir.TensorType(dtype)
