"""Module and GraphSpec -> ONNX file. The only place that calls torch.onnx.export."""

import ast
import logging
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, IdentityEliminationPass
from onnxscript import optimizer
from torch import Tensor, nn

from hyperseg_export.onnx import custom_operators
from hyperseg_export.onnx.weight_store import INLINE_BYTES, Location, WeightFile
from hyperseg_runtime.contracts.axes import Axis, is_name
from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec, TensorSpec
from hyperseg_runtime.errors import ExportError
from hyperseg_runtime.files.writing import fsync_file

OPSET = 24
IR_VERSION = 10
SMALL, LARGE, ODD = (2, 1), (161, 37), (83, 29)
"""First size and step of the named axes of stand-in inputs. Where axes are derived, sizes are large and no multiples of
anything, so that no quotient is 1 or exact."""
FOLD_ELEMENTS = 1024
"""Constants larger than this are not computed at export: folding reads them, and results lose their names."""

SCOPES = "pkg.torch.onnx.name_scopes"
NO_MODULE = "_empty_nn_module_stack"

TORCH_DTYPES = {
    DType.FLOAT32: torch.float32,
    DType.FLOAT16: torch.float16,
    DType.BFLOAT16: torch.bfloat16,
    DType.FLOAT8: torch.float8_e4m3fn,
    DType.INT64: torch.int64,
    DType.INT8: torch.int8,
    DType.UINT8: torch.uint8,
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
    custom_operators.register_schemas()
    with torch.device("meta"), _quiet():
        if _has_derived_axes(spec):
            _require_derived_sizes(module, spec)
        try:
            program = torch.onnx.export(
                module,
                _examples(spec, _sizes(spec, *(LARGE if _has_derived_axes(spec) else SMALL))),
                dynamo=True,
                opset_version=OPSET,
                # The optimiser of torch.onnx.export reads tensor values; here they are still unknown.
                optimize=False,
                dynamic_shapes=_dynamic_shapes(module, spec),
                input_names=spec.input_names(),
                output_names=spec.output_names(),
                custom_translation_table=custom_operators.translations(OPSET),
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"graph {spec.name} cannot be exported: {_first_lines(error)}") from error
    if program is None:
        raise ExportError(f"graph {spec.name} cannot be exported: the exporter returned nothing")
    model = program.model
    _attach(model, values, replaceable)
    with _quiet():
        # Sizes are computed anew at every use, and each of the optimiser's rules looks at every node.
        CommonSubexpressionEliminationPass()(model)
        # A second round would find only what the first leaves behind of each node it takes away.
        optimizer.optimize_ir(model, num_iterations=1, input_size_limit=FOLD_ELEMENTS, output_size_limit=FOLD_ELEMENTS)
        IdentityEliminationPass()(model)
    _name_and_clean(model, spec)
    custom_operators.add_function_bodies(model, OPSET)
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
        if (written := weights.recall(name)) is not None:
            value.const_value = _external(value, written, path)
            continue
        tensor = value.const_value
        if tensor.nbytes < INLINE_BYTES:
            value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=name)
        else:
            value.const_value = _external(value, weights.add(_stored(tensor), name), path)
    ir.save(model, path)
    with path.open("rb+") as file:
        fsync_file(file)


def _stored(tensor: ir.TensorProtocol) -> np.ndarray:
    """Values as they lie in a file: numpy gives each number of 4 bits a byte, ONNX packs two into one."""
    if tensor.dtype.bitwidth < 8:
        return np.frombuffer(tensor.tobytes(), np.uint8)
    return tensor.numpy()


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


def _sizes(spec: GraphSpec, first: int, step: int) -> dict[str, int]:
    """Distinct allowed sizes above 1 for the named axes: size 1 would be frozen into the graph."""
    ranges = spec.axis_ranges.items()
    return {axis: limits.stand_in(first + step * index) for index, (axis, limits) in enumerate(ranges)}


def _examples(spec: GraphSpec, sizes: Mapping[str, int]) -> tuple[Tensor, ...]:
    """Stand-in inputs of these sizes."""
    return tuple(
        torch.empty(tensor.shape(sizes), dtype=TORCH_DTYPES[tensor.dtype], device="meta") for tensor in spec.inputs
    )


def _is_derived(axis: Axis) -> bool:
    return isinstance(axis, str) and not is_name(axis)


def _has_derived_axes(spec: GraphSpec) -> bool:
    return any(_is_derived(axis) for tensor in (*spec.inputs, *spec.outputs) for axis in tensor.axes)


def _require_derived_sizes(module: nn.Module, spec: GraphSpec) -> None:
    """Raise ExportError where the module's outputs have other sizes than the spec derives from the inputs'.

    The exporter finds sizes of its own and writes them in its own words, which nobody could compare with the spec's.
    """
    for first, step in (LARGE, ODD):
        sizes = _sizes(spec, first, step)
        made = module(*_examples(spec, sizes))
        for tensor, output in zip(spec.outputs, (made,) if isinstance(made, Tensor) else made, strict=True):
            if tuple(output.shape) != tensor.shape(sizes):
                raise ExportError(
                    f"graph {spec.name}: expected output {tensor}, that is {tensor.shape(sizes)} for {sizes}, "
                    f"the module gives {tuple(output.shape)}"
                )


def _dynamic_shapes(module: nn.Module, spec: GraphSpec) -> tuple[Any, ...]:
    """One mapping axis index -> Dim per input; a variadic forward wants its last ones in a tuple."""
    # ONNX carries no ranges, but a module may be traceable from a smallest size on only.
    dims: dict[str, Any] = {
        axis: torch.export.Dim(axis, min=limits.minimum) for axis, limits in spec.axis_ranges.items()
    }
    per_input = [
        # A derived size is found by the exporter; its name is written by `_name_derived_axes`.
        {i: dims.get(axis, torch.export.Dim.AUTO) for i, axis in enumerate(tensor.axes) if isinstance(axis, str)}
        for tensor in spec.inputs
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
    _name_derived_axes(model.graph.inputs, spec.inputs)
    _name_derived_axes(model.graph.outputs, spec.outputs)


def _name_derived_axes(values: Sequence[ir.Value], tensors: Sequence[TensorSpec]) -> None:
    """Put the spec's expression in place of the exporter's; a size that the exporter has fixed stays, for the lint."""
    for value, tensor in zip(values, tensors, strict=False):
        if value.shape is not None and len(value.shape) == len(tensor.axes):
            value.shape = ir.Shape(
                axis if _is_derived(axis) and isinstance(found, ir.SymbolicDim) else found
                for axis, found in zip(tensor.axes, value.shape, strict=True)
            )


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
