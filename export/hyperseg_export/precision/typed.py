"""Which graph computes in which number format, and what stays float32 inside it.

The types in a graph are its precision: TensorRT 11 converts nothing on its own. So a typed graph is exported
from the same modules as the float32 one, with casts where the plan puts them:

* A layer computes in the type of its weights; its input is cast on entry.
* An island (see `modules.islands`) computes in float32; what leaves it is cast back, unless it says that it stays wide.
* A sum of two types is made in the wider one (PyTorch's promotion, written out as a Cast by the exporter).
* Inputs and outputs have the types of the GraphSpec: float32, but for the caches (see `typed_spec`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hyperseg_export.model import SourceModel
from hyperseg_export.modules.islands import Island, island_of
from hyperseg_export.onnx.writer import TORCH_DTYPES
from hyperseg_runtime.contracts.graph_spec import GraphSpec, Reuse
from hyperseg_runtime.contracts.precision import Precision, typed_spec
from hyperseg_runtime.errors import InputError


@dataclass(frozen=True)
class GraphPrecisions:
    """Precision of every graph, by name."""

    graphs: Mapping[str, Precision]


def language_in_bf16(spec: GraphSpec) -> Precision:
    """Phi-2 overflows fp16; everything else is better off with its three more bits."""
    is_language = bool(spec.in_place) or spec.reuse is Reuse.TOKEN
    return Precision.BF16 if is_language else Precision.FP16


PRESETS: Mapping[str, Callable[[GraphSpec], Precision]] = {
    "fp32": lambda spec: Precision.FP32,
    "fp16": lambda spec: Precision.FP16,
    "bf16": lambda spec: Precision.BF16,
    "mixed": language_in_bf16,
}


def choose_precisions(
    specs: tuple[GraphSpec, ...], preset: str, overrides: Mapping[str, str] | None = None
) -> GraphPrecisions:
    """The plan of a preset, with some graphs overridden. Raises InputError for names that do not exist."""
    if preset not in PRESETS:
        raise InputError(f"unknown precision {preset!r}; choose {', '.join(PRESETS)}")
    graphs = {spec.name: Precision.FP32 if spec.exact else PRESETS[preset](spec) for spec in specs}
    for name, precision in (overrides or {}).items():
        if name not in graphs:
            raise InputError(f"there is no graph {name!r} to set a precision for; graphs are {', '.join(graphs)}")
        if precision not in list(Precision):
            raise InputError(f"graph {name}: unknown precision {precision!r}; choose {', '.join(Precision)}")
        graphs[name] = Precision(precision)
    return GraphPrecisions(graphs)


def typed_model(model: SourceModel, precisions: GraphPrecisions) -> SourceModel:
    """`model` with every graph's contract and module in the precision of the plan."""
    specs = {spec.name: typed_spec(spec, precisions.graphs[spec.name]) for spec in model.specs}

    def build_graph(name: str) -> nn.Module:
        return apply_precision(model.module(name), specs[name], precisions.graphs[name])

    definition = replace(model.definition, build_graph=build_graph)
    return replace(model, specs=tuple(specs.values()), definition=definition)


def apply_precision(module: nn.Module, spec: GraphSpec, precision: Precision) -> nn.Module:
    """Give `module` (float32) the types and casts of `precision`. Changes and returns the module."""
    if precision is Precision.FP32:
        return module
    narrow = TORCH_DTYPES[precision.dtype]
    islands = island_paths(module, precision)
    for path, island in islands.items():
        if island.written_as:
            module.set_submodule(path, island.written_as(module.get_submodule(path)))
    for path, part in module.named_modules():
        own = torch.float32 if enclosing_island(path, islands) else narrow
        for name, parameter in part.named_parameters(recurse=False):
            setattr(part, name, nn.Parameter(parameter.to(own), requires_grad=False))
        if path in islands:
            part.register_forward_pre_hook(_cast_inputs(torch.float32))
            if not islands[path].stays_wide:
                part.register_forward_hook(_cast_output(narrow))
        elif isinstance(getattr(part, "weight", None), nn.Parameter):
            part.register_forward_pre_hook(_cast_inputs(own))
    module.register_forward_hook(_cast_to_contract(spec))
    return module


def island_paths(module: nn.Module, precision: Precision) -> dict[str, Island]:
    """Path of every island of `module` -> what it says of itself."""
    found = ((path, island_of(part, precision)) for path, part in module.named_modules())
    return {path: island for path, island in found if island}


def enclosing_island(path: str, islands: Mapping[str, Island]) -> Island | None:
    """The island that holds the module `path`, itself included."""
    return next((islands[outer] for outer in _prefixes(path) if outer in islands), None)


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def _cast_inputs(dtype: torch.dtype) -> Callable[..., Any]:
    return lambda part, given: tuple(_cast(value, dtype) for value in given)


def _cast_output(dtype: torch.dtype) -> Callable[..., Any]:
    def cast(part: nn.Module, given: Any, made: Any) -> Any:
        return tuple(_cast(value, dtype) for value in made) if isinstance(made, tuple) else _cast(made, dtype)

    return cast


def _cast_to_contract(spec: GraphSpec) -> Callable[..., Any]:
    dtypes = [TORCH_DTYPES[tensor.dtype] for tensor in spec.outputs]

    def cast(part: nn.Module, given: Any, made: Any) -> Any:
        if isinstance(made, Tensor):
            return _cast(made, dtypes[0])
        return tuple(_cast(value, dtype) for value, dtype in zip(made, dtypes, strict=True))

    return cast
