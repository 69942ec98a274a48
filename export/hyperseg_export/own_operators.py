"""Operators that ONNX does not have, or that torch's exporter does not know: their nodes and their bodies."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import onnx
import onnx_ir as ir
import onnxscript
import torch

from hyperseg_export.modules import cache_op  # noqa: F401  (registers an op translated below)
from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION, PLUGIN_ATTRIBUTES, PROJECTED_ATTENTION, OperatorName
from hyperseg_kernels.deformable_attention import onnx_op, onnx_projected, torch_op  # noqa: F401  (likewise)
from hyperseg_runtime.errors import ExportError


def register_schemas() -> None:
    """Tell this process's `onnx` about our operators."""
    onnx_op.register_schema()
    onnx_projected.register_schema()


def translations(opset: int) -> dict[Callable[..., Any], Callable[..., Any]]:
    """torch op -> ONNX node, for the ops that torch does not know how to export."""
    standard = onnxscript.values.Opset("", opset)
    own = onnxscript.values.Opset(DEFORMABLE_ATTENTION.domain, DEFORMABLE_ATTENTION.version)

    def cache_update(cache: Any, update: Any, write_indices: Any) -> Any:
        return standard.TensorScatter(cache, update, write_indices, axis=-2, mode="linear")

    def deformable_attention(value: Any, locations: Any, weights: Any, level_shapes: Sequence[int]) -> Any:
        node = getattr(own, DEFORMABLE_ATTENTION.name)
        return node(value, locations, weights, level_shapes=level_shapes, **PLUGIN_ATTRIBUTES)

    def projected_attention(value: Any, references: Any, offsets: Any, logits: Any, level_shapes: Sequence[int]) -> Any:
        node = getattr(own, PROJECTED_ATTENTION.name)
        return node(value, references, offsets, logits, level_shapes=level_shapes, **PLUGIN_ATTRIBUTES)

    return {
        torch.ops.hyperseg.cache_update.default: cache_update,
        torch.ops.hyperseg.deformable_attention.default: deformable_attention,
        torch.ops.hyperseg.projected_deformable_attention.default: projected_attention,
    }


def add_function_bodies(model: ir.Model, opset: int) -> None:
    """Give our own operators their bodies of standard operators, for every runtime that lacks a kernel.

    Raises ExportError where nodes of one operator would need different bodies: a file holds one each.
    """
    projected = list(_nodes(model, PROJECTED_ATTENTION))
    sizes = {_reference_size(model, node) for node in projected}
    forms = {_form(node) for node in (*_nodes(model, DEFORMABLE_ATTENTION), *projected)}
    if len(forms) > 1 or len(sizes) > 1:
        different = sorted(f"{levels} levels of {onnx.TensorProto.DataType.Name(kind)}" for levels, kind in forms)
        raise ExportError(
            f"graph {model.graph.name}: one body cannot serve all nodes: {', '.join(different)}"
            + (f", references of {sorted(sizes)} coordinates" if sizes else "")
        )
    bodies = [onnx_op.function_body(levels, opset, value_type) for levels, value_type in forms]
    bodies += [onnx_projected.function_body(size, opset) for size in sizes]
    for body in map(ir.serde.deserialize_function, bodies):
        model.functions[body.identifier()] = body


def _nodes(model: ir.Model, operator: OperatorName) -> Iterator[ir.Node]:
    return (node for node in model.graph if (node.domain, node.op_type) == (operator.domain, operator.name))


def _form(node: ir.Node) -> tuple[int, int]:
    """Number of levels and ONNX type of the values: what a body is made for."""
    value = node.inputs[0]
    if value is None or value.dtype is None:
        raise ExportError(f"{node.name} has values of unknown type")
    return len(node.attributes["level_shapes"].as_ints()) // 2, value.dtype.value


def _reference_size(model: ir.Model, node: ir.Node) -> int:
    references = node.inputs[1]
    size = references.shape[-1] if references is not None and references.shape is not None else None
    if not isinstance(size, int):
        raise ExportError(f"graph {model.graph.name}: references must have 2 or 4 coordinates, known at export")
    return size
