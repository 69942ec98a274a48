"""What of a graph can be quantised: products with a constant weight, and what stays as it is for a reason."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hyperseg_runtime.contracts.quantization import Scheme

OUTPUT_AXES = {"MatMul": -1, "Gemm": -1, "Conv": 0}
"""Operators that can be quantised -> the axis of output channels in their weight."""
FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
BLOCKS = (128, 64, 32)
"""Sizes of blocks that TensorRT and ONNX Runtime's MatMulNBits both know, from which a recipe chooses the largest."""


@dataclass(frozen=True)
class Layer:
    """A weight and every node that multiplies with it.

    name   of the weight as the graph came
    axis   of the weight's output channels
    """

    name: str
    weight: ir.Value
    nodes: tuple[ir.Node, ...]
    axis: int

    @property
    def inputs(self) -> tuple[ir.Value, ...]:
        """What each node multiplies the weight with."""
        return tuple(node.inputs[0] for node in self.nodes if node.inputs[0] is not None)


def layers_of(model: ir.Model) -> list[Layer]:
    """Layers of the main graph in its order. Bodies of functions belong to our operators and stay as they are."""
    found: dict[str, list[ir.Node]] = {}
    for node in model.graph:
        weight = node.inputs[1] if node.op_type in OUTPUT_AXES and not node.domain and len(node.inputs) > 1 else None
        if weight is not None and weight.is_initializer() and weight.dtype in FLOATS:
            found.setdefault(weight.name or "", []).append(node)
    return [
        Layer(name, model.graph.initializers[name], tuple(nodes), axis)
        for name, nodes in found.items()
        if (axis := _shared_axis(model.graph.initializers[name], nodes)) is not None
    ]


def _shared_axis(weight: ir.Value, nodes: Sequence[ir.Node]) -> int | None:
    """None where the weight is used in a way in which its channels cannot be told, or for something else too."""
    axes = {_output_axis(node) for node in nodes}
    elsewhere = len(weight.uses()) != len(nodes) or weight.is_graph_output()
    rank = len(weight.shape) if weight.shape is not None else 0
    if elsewhere or len(axes) != 1 or (nodes[0].op_type == "MatMul" and rank != 2):
        return None
    return axes.pop() % rank


def _output_axis(node: ir.Node) -> int:
    transposed: int = node.attributes.get_int("transB", 0)
    return 0 if node.op_type == "Gemm" and transposed else OUTPUT_AXES[node.op_type]


def skipped(layers: Sequence[Layer], patterns: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Name -> reason of every layer that a pattern (a regular expression, anywhere in the name) leaves out."""
    for layer in layers:
        reason = next((reason for pattern, reason in patterns.items() if re.search(pattern, layer.name)), None)
        if reason is not None:
            yield layer.name, reason


def block_of(layer: Layer, largest: int) -> int | None:
    """Size of the blocks along the inputs of a layer, at most `largest`; None where no size divides them."""
    inputs = layer.weight.shape[0] if layer.weight.shape is not None and layer.nodes[0].op_type == "MatMul" else 1
    return next((size for size in BLOCKS if size <= largest and isinstance(inputs, int) and inputs % size == 0), None)


def why_not(layer: Layer, scheme: Scheme, largest_block: int) -> str | None:
    """Why the layer cannot be rounded in this way, if so."""
    if scheme is Scheme.INT8_DYNAMIC and (
        layer.nodes[0].op_type != "MatMul" or layer.weight.dtype != ir.DataType.FLOAT
    ):
        return "activations are rounded by each call in products of float32 matrices only"
    if not scheme.weights_alone:
        return None
    if layer.nodes[0].op_type != "MatMul":
        return "weights alone are rounded in products of matrices only"
    if block_of(layer, largest_block) is None:
        return f"its inputs are no multiple of {BLOCKS[-1]}, the smallest block"
    return None
