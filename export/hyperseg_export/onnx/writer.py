"""Module and GraphSpec -> ONNX file. The only place that calls torch.onnx.export."""

import ast
import logging
import warnings
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import onnx_ir as ir
import torch
from onnxscript import optimizer
from torch import Tensor, nn

from hyperseg_export.onnx import custom_operators as own_operators
from hyperseg_export.onnx.weight_store import Location, WeightFile
from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec, TensorSpec
from hyperseg_runtime.errors import ExportError

OPSET = 24
IR_VERSION = 10
INLINE_BYTES = 1024
"""Tensors smaller than this stay inside the ONNX file."""
FOLD_ELEMENTS = 1024
"""Constants larger than this are not computed at export: folding reads them, and results lose their names."""

SCOPES = "pkg.torch.onnx.name_scopes"
NO_MODULE = "_empty_nn_module_stack"

TORCH_DTYPES = {
    DType.FLOAT32: torch.float32,
    DType.FLOAT16: torch.float16,
    DType.BFLOAT16: torch.bfloat16,
    DType.INT64: torch.int64,
    DType.BOOL: torch.bool,
}


class Values(Protocol):
    """Values of a module's parameters and buffers by name."""

    def __getitem__(self, name: str) -> Tensor: ...


def export_graph(
    module: nn.Module, spec: GraphSpec, values: Values, replaceable: Container[str] = frozenset()
) -> ir.Model:
    """The graph of `module` with the names, types and axes of `spec`.

    `module` lives on the meta device; `values` are asked for when the model is saved, one tensor at a
    time, so the memory needed does not grow with the model. Parameters named in `replaceable` get no value
    here, so nothing can be folded into them or merged with them. Raises ExportError when torch cannot export
    it; whether the result is what the spec says is for `onnx_lint.check_graph` to find out.
    """
    own_operators.register_schemas()
    with torch.device("meta"), _quiet():
        try:
            program = torch.onnx.export(
                module,
                tuple(_example(tensor, spec) for tensor in spec.inputs),
                dynamo=True,
                opset_version=OPSET,
                # The optimiser of torch.onnx.export reads tensor values; here they are still unknown.
                optimize=False,
                dynamic_shapes=_dynamic_shapes(module, spec),
                input_names=spec.input_names(),
                output_names=spec.output_names(),
                custom_translation_table=own_operators.translations(OPSET),
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"graph {spec.name} cannot be exported: {_first_lines(error)}") from error
    if program is None:
        raise ExportError(f"graph {spec.name} cannot be exported: the exporter returned nothing")
    model = program.model
    _attach(model, values, replaceable)
    with _quiet():
        optimizer.optimize_ir(model, input_size_limit=FOLD_ELEMENTS, output_size_limit=FOLD_ELEMENTS)
    _name_and_clean(model, spec)
    own_operators.add_function_bodies(model, OPSET)
    return model


def save_graph(model: ir.Model, path: Path, weights: WeightFile, placed: Mapping[str, Location] | None = None) -> None:
    """Write `path` and put its large tensors into `weights`, read one at a time.

    `placed` says where the tensors without a value lie; they stay outside however small they are.
    """
    placed = placed or {}
    for name, value in model.graph.initializers.items():
        if name in placed:
            value.const_value = _external(value, placed[name], path)
            continue
        if value.const_value is None:
            raise ExportError(f"graph {model.graph.name}: initializer {name} has no value")
        array = value.const_value.numpy()
        if array.nbytes < INLINE_BYTES:
            value.const_value = ir.Tensor(array, name=name)
        else:
            value.const_value = _external(value, weights.add(array), path)
    ir.save(model, path)


def _external(value: ir.Value, location: Location, path: Path) -> ir.ExternalTensor:
    """The promise of a tensor's data in a file beside `path`."""
    if value.name is None or value.dtype is None or value.shape is None:
        raise ExportError(f"{path.name}: initializer {value.name} has no type")
    return ir.ExternalTensor(
        location.file,
        location.offset,
        location.length,
        value.dtype,
        shape=value.shape,
        name=value.name,
        base_dir=path.parent,
    )


def _example(tensor: TensorSpec, spec: GraphSpec) -> Tensor:
    """A stand-in input. Named axes get distinct sizes above 1: size 1 would be frozen into the graph."""
    sizes = {axis: 2 + index for index, axis in enumerate(spec.axis_ranges)}
    shape = [sizes[axis] if isinstance(axis, str) else axis for axis in tensor.axes]
    return torch.empty(shape, dtype=TORCH_DTYPES[tensor.dtype], device="meta")


def _dynamic_shapes(module: nn.Module, spec: GraphSpec) -> tuple[Any, ...]:
    """One mapping axis index -> Dim per input; a variadic forward wants its last ones in a tuple."""
    dims = {axis: torch.export.Dim(axis, min=1) for axis in spec.axis_ranges}  # ONNX carries no ranges
    per_input = [
        {index: dims[axis] for index, axis in enumerate(tensor.axes) if isinstance(axis, str)} for tensor in spec.inputs
    ]
    code = module.forward.__code__
    if not code.co_flags & 0x04:  # no *args
        return tuple(per_input)
    plain = code.co_argcount - 1
    return (*per_input[:plain], tuple(per_input[plain:]))


def _attach(model: ir.Model, values: Values, replaceable: Container[str]) -> None:
    """Replace the meta tensors by promises of the real ones."""
    for name, value in model.graph.initializers.items():
        if value.dtype is None or value.shape is None:
            raise ExportError(f"initializer {name} has no type")
        if name in replaceable:
            value.const_value = None
            continue

        def read(name: str = name) -> ir.TensorProtocol:
            return ir.tensor(values[name].detach(), name=name)  # bfloat16 has no numpy type

        value.const_value = ir.LazyTensor(read, dtype=value.dtype, shape=value.shape, name=name)


def module_path(node: ir.Node) -> str:
    """Path of the module that a node of a written graph comes from; empty for the graph's own module."""
    return (node.name or "").rpartition("/")[0]


def _name_and_clean(model: ir.Model, spec: GraphSpec) -> None:
    """Name graph and nodes, these after their modules; drop the exporter's notes (source paths, stack traces)."""
    model.graph.name = spec.name
    model.producer_name, model.producer_version = "hyperseg-trt", ""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph:
        # The outer modules of the node and the node itself; paths of modules are complete.
        module = ["", "", *ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))][-2]
        if module and not module.startswith(NO_MODULE):
            node.name = f"{module}/{node.name}"
        node.metadata_props.clear()
        for output in node.outputs:
            output.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


def _first_lines(error: Exception) -> str:
    return " ".join(str(error.__cause__ or error).split("\n")[:2])[:500]


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns about packages it would use, its own deprecations and values it lacks; none is ours."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def initializer_sizes(model: ir.Model) -> Mapping[str, int]:
    """Initializer name -> bytes."""
    return {
        name: value.const_value.nbytes
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }
