"""Operators that ONNX does not have, or that torch's exporter does not know: their nodes and their bodies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import onnx_ir as ir
import onnxscript
import torch

from hyperseg_export.modules import cache_op  # noqa: F401  (registers an op translated below)
from hyperseg_kernels.catalog import (
    DEFORMABLE_ATTENTION,
    MASK_READOUT,
    PILLOW_RESIZE,
    PLUGIN_ATTRIBUTES,
    PROJECTED_ATTENTION,
    SIZED_ATTENTION,
    OperatorName,
)
from hyperseg_kernels.deformable_attention import onnx_op, onnx_projected, onnx_sized, torch_op  # noqa: F401  (likewise)
from hyperseg_kernels.mask_readout import onnx_op as onnx_readout
from hyperseg_kernels.mask_readout import torch_op as torch_readout  # noqa: F401  (likewise)
from hyperseg_kernels.pillow_resize import onnx_op as onnx_resize
from hyperseg_kernels.pillow_resize import torch_op as torch_resize  # noqa: F401  (likewise)
from hyperseg_runtime.errors import ExportError


def register_schemas() -> None:
    """Tell this process's `onnx` about our operators."""
    onnx_op.register_schema()
    onnx_projected.register_schema()
    onnx_sized.register_schema()
    onnx_readout.register_schema()
    onnx_resize.register_schema()


def translations(opset: int) -> dict[Callable[..., Any], Callable[..., Any]]:
    """torch op -> ONNX node, for the ops that torch does not know how to export."""
    standard = onnxscript.values.Opset("", opset)
    own = onnxscript.values.Opset(DEFORMABLE_ATTENTION.domain, DEFORMABLE_ATTENTION.version)

    def cache_update(cache: Any, update: Any, write_indices: Any) -> Any:
        return standard.TensorScatter(cache, update, write_indices, axis=-2, mode="linear")

    def cache_slots(cache: Any, mask: Any) -> Any:
        return standard.Slice(cache, [0], standard.Shape(mask, start=3, end=4), [2])

    def deformable_attention(value: Any, locations: Any, weights: Any, level_shapes: Sequence[int]) -> Any:
        node = getattr(own, DEFORMABLE_ATTENTION.name)
        return node(value, locations, weights, level_shapes=level_shapes, **PLUGIN_ATTRIBUTES)

    def projected_attention(value: Any, references: Any, offsets: Any, logits: Any, level_shapes: Sequence[int]) -> Any:
        node = getattr(own, PROJECTED_ATTENTION.name)
        return node(value, references, offsets, logits, level_shapes=level_shapes, **PLUGIN_ATTRIBUTES)

    def sized_attention(value: Any, references: Any, offsets: Any, logits: Any, level_sizes: Any) -> Any:
        return getattr(own, SIZED_ATTENTION.name)(value, references, offsets, logits, level_sizes)

    def mask_readout(logits: Any, shown: Any, *tables: Any) -> Any:
        return getattr(own, MASK_READOUT.name)(logits, shown, *tables, **PLUGIN_ATTRIBUTES)

    def pillow_resize(pixels: Any, *tables: Any) -> Any:
        return getattr(own, PILLOW_RESIZE.name)(pixels, *tables, **PLUGIN_ATTRIBUTES)

    return {
        torch.ops.hyperseg.cache_update.default: cache_update,
        torch.ops.hyperseg.cache_slots.default: cache_slots,
        torch.ops.hyperseg.deformable_attention.default: deformable_attention,
        torch.ops.hyperseg.projected_deformable_attention.default: projected_attention,
        torch.ops.hyperseg.sized_deformable_attention.default: sized_attention,
        torch.ops.hyperseg.mask_readout.default: mask_readout,
        torch.ops.hyperseg.pillow_resize.default: pillow_resize,
    }


def add_function_bodies(model: ir.Model, opset: int) -> None:
    """Give our own operators their bodies of standard operators, for every runtime that lacks a kernel.

    Raises ExportError where nodes of one operator would need different bodies: a file holds one each.
    """
    for operator in (DEFORMABLE_ATTENTION, PROJECTED_ATTENTION, SIZED_ATTENTION):
        forms = {
            _form(operator, node)
            for node in model.graph
            if (node.domain, node.op_type) == (operator.domain, operator.name)
        }
        if len(forms) > 1:
            raise ExportError(
                f"graph {model.graph.name}: one body of {operator} cannot serve {' and '.join(sorted(map(str, forms)))}"
            )
        for form in forms:
            body = ir.serde.deserialize_function(form.body(opset))
            model.functions[body.identifier()] = body
    for operator, one_body in ((MASK_READOUT, onnx_readout.function_body), (PILLOW_RESIZE, onnx_resize.function_body)):
        if any((node.domain, node.op_type) == (operator.domain, operator.name) for node in model.graph):
            body = ir.serde.deserialize_function(one_body(opset))
            model.functions[body.identifier()] = body


@dataclass(frozen=True)
class Form:
    """What a body of deformable attention is made for."""

    operator: OperatorName
    levels: int
    value_type: ir.DataType
    reference_size: int | None = None  # of the projected operator, which takes two kinds of references

    def __str__(self) -> str:
        references = f" with references of {self.reference_size} coordinates" if self.reference_size else ""
        return f"{self.levels} levels of {self.value_type}{references}"

    def body(self, opset: int) -> onnx.FunctionProto:
        value_type = self.value_type.value
        if self.operator == DEFORMABLE_ATTENTION:
            return onnx_op.function_body(self.levels, opset, value_type)
        if self.operator == SIZED_ATTENTION:
            return onnx_sized.function_body(self.levels, opset, value_type)
        assert self.reference_size is not None
        return onnx_projected.function_body(self.reference_size, self.levels, opset, value_type)


def _form(operator: OperatorName, node: ir.Node) -> Form:
    value, references = node.inputs[:2]
    if value is None or value.dtype is None or references is None or references.shape is None:
        raise ExportError(f"{node.name} has inputs of unknown type or shape")
    if operator == SIZED_ATTENTION:
        return Form(operator, _fixed(node, 3, 3, "levels"), value.dtype)
    levels = len(node.attributes["level_shapes"].as_ints()) // 2
    if operator == DEFORMABLE_ATTENTION:
        return Form(operator, levels, value.dtype)
    return Form(operator, levels, value.dtype, _fixed(node, 1, -1, "coordinates of a reference"))


def _fixed(node: ir.Node, index: int, axis: int, what: str) -> int:
    """An axis of an input, which must be a number already."""
    given = node.inputs[index]
    size = given.shape[axis] if given is not None and given.shape is not None else None
    if not isinstance(size, int):
        raise ExportError(f"{node.name}: {what} must be known at export")
    return size
