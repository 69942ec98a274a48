"""Proof that a written graph holds its precision plan: every weight and every costly operator has its type."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx.shape_inference
import onnx_ir as ir
import torch
from torch import nn

from hyperseg_export.onnx import custom_operators as own_operators
from hyperseg_export.onnx.lint import IR_DTYPES
from hyperseg_export.onnx.writer import TORCH_DTYPES, module_path
from hyperseg_export.precision.typed import enclosing_island, island_paths
from hyperseg_kernels.catalog import OPERATORS
from hyperseg_runtime.contracts.graph_spec import DType
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import ExportError

JUDGED = frozenset("Attention Conv Gelu Gemm GroupNormalization LayerNormalization MatMul RotaryEmbedding".split()) | {
    operator.name for operator in OPERATORS
}
"""Operators whose type decides about speed or accuracy. The rest is elementwise or moves data."""
NOT_INFERRED = frozenset({"GroupNormalization"}) | {operator.name for operator in OPERATORS}
"""onnx 1.23 infers no output type for these; theirs is that of the input, which is judged."""


def check_precision(path: Path, module: nn.Module, precision: Precision) -> dict[str, int]:
    """Raise ExportError unless the file holds the plan for `module`, which has the precision already.

    Returns how many judged operators compute in which type: {"MatMul float16": 12, ...}.
    """
    own_operators.register_schemas()
    proto = onnx.load(path, load_external_data=False)
    _forget_types(proto)
    findings = list(_weights(ir.from_proto(proto), module))
    try:
        model = ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True))
        findings += _operators(model, module, precision)
    except onnx.shape_inference.InferenceError as error:  # where operands disagree, among other things
        findings.append(str(error))
    if findings:
        lines = "\n  ".join(findings[:10])
        raise ExportError(
            f"graph {proto.graph.name} is not {precision} as planned, {len(findings)} finding(s):\n  {lines}"
        )
    return dict(sorted(Counter(f"{node.op_type} {_name(_type(node))}" for node in _judged(model)).items()))


def _forget_types(proto: onnx.ModelProto) -> None:
    """Drop the types that a file notes: evidence is what follows from inputs and weights."""
    opaque = {name for node in proto.graph.node if node.op_type in NOT_INFERRED for name in node.output}
    noted = [value for value in proto.graph.value_info if value.name in opaque]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(noted)


def _weights(model: ir.Model, module: nn.Module) -> Iterator[str]:
    expected = {name: _ir_type(parameter.dtype) for name, parameter in module.named_parameters()}
    for name, value in model.graph.initializers.items():
        if name in expected and value.dtype != expected[name]:
            yield f"weight {name} is {value.dtype}, expected {expected[name]}"


def _operators(model: ir.Model, module: nn.Module, precision: Precision) -> Iterator[str]:
    islands = island_paths(module, precision)
    for node in _judged(model):
        path = module_path(node)
        island = enclosing_island(path, islands)
        expected = IR_DTYPES[DType.FLOAT32 if island else precision.dtype]
        if _type(node) != expected:
            why = f", an island: {island.reason}" if island else ""
            yield f"{node.op_type} of {path or 'the graph itself'} is {_type(node)}, expected {expected}{why}"


def _judged(model: ir.Model) -> Iterator[ir.Node]:
    return (node for node in model.graph if node.op_type in JUDGED)


def _type(node: ir.Node) -> ir.DataType | None:
    """Of what goes in: strongly typed operators compute in it."""
    first = node.inputs[0]
    return first.dtype if first is not None else None


def _ir_type(dtype: torch.dtype) -> ir.DataType:
    return IR_DTYPES[next(kind for kind, torch_dtype in TORCH_DTYPES.items() if torch_dtype is dtype)]


def _name(dtype: ir.DataType | None) -> str:
    return next((str(kind) for kind, ir_dtype in IR_DTYPES.items() if ir_dtype == dtype), "unknown")
