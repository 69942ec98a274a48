"""Which graph computes in which number format, and what stays float32 inside it.

The types in a graph are its precision: TensorRT 11 converts nothing on its own. So a typed graph is exported
from the same modules as the float32 one, with casts where the plan puts them:

* A layer computes in the type of its weights; its input is cast on entry.
* An island computes in float32; what leaves it is cast back, unless the island says that it stays wide.
* A sum of two types is made in the wider one (PyTorch's promotion, written out as a Cast by the exporter).
* Inputs and outputs have the types of the GraphSpec: float32, but for the caches (see `typed_spec`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hyperseg_export.model import PlannedModel
from hyperseg_export.modules.linear import RowPooling
from hyperseg_export.modules.mask_decoder import ConditionScore, MaskLogits
from hyperseg_export.modules.phi import CacheAttention, RotaryEmbedding, WrittenOutAttention
from hyperseg_export.modules.pixel_decoder import DeformableSampling
from hyperseg_export.modules.residual import ResidualStream
from hyperseg_export.onnx.writer import TORCH_DTYPES
from hyperseg_runtime.contracts.graph_spec import GraphSpec, Reuse
from hyperseg_runtime.contracts.precision import Precision, typed_spec
from hyperseg_runtime.errors import InputError

LOW = frozenset({Precision.FP16, Precision.BF16})


@dataclass(frozen=True)
class Island:
    """A kind of module that stays float32 in graphs of the given precisions, and why."""

    kind: type[nn.Module]
    reason: str
    precisions: frozenset[Precision] = LOW
    stays_wide: bool = False
    """Its outputs are not cast back."""
    written_as: Callable[[Any], nn.Module] | None = None
    """Another module that does the same, made from the one it stands for."""


ISLANDS = (
    Island(nn.LayerNorm, "mean and variance sum thousands of squares"),
    Island(nn.GroupNorm, "mean and variance sum thousands of squares"),
    Island(
        ResidualStream,
        "sums over 26 (SigLIP) and 32 (Phi-2) layers: drift of fp16 flips answers between builds "
        "(NVIDIA/TensorRT-Model-Connect#812, NVIDIA/TensorRT#4373), bf16 has 8 bits for them",
        stays_wide=True,
    ),
    Island(nn.GELU, "SigLIP's activation, another of its drift points (NVIDIA/TensorRT-Model-Connect#812)"),
    Island(
        CacheAttention,
        "attention scores of Phi-2 overflow float16 (huggingface/transformers#28163)",
        frozenset({Precision.FP16}),
        # TensorRT-RTX 1.7.1 crashes on a float32 Attention node that reads a cache it has cast. Written out, the
        # arithmetic is the same. Can go when the fp16 language model builds without it.
        written_as=lambda attention: WrittenOutAttention(attention.shared),
    ),
    Island(RotaryEmbedding, "bf16 has 8 bits for the sine of an angle; as an elementwise step it costs nothing"),
    Island(DeformableSampling, "fp16 coordinates move in steps of up to 1/16 px on a map of 128 px"),
    Island(MaskLogits, "their sign decides about pixels and about what the next layer looks at", LOW, stays_wide=True),
    Island(ConditionScore, "the order of these logits decides which mask is the answer", LOW, stays_wide=True),
    Island(RowPooling, "takes float32 inputs of the graph as they come", LOW, stays_wide=True),
)


@dataclass(frozen=True)
class PrecisionPlan:
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


def make_plan(specs: tuple[GraphSpec, ...], preset: str, overrides: Mapping[str, str] | None = None) -> PrecisionPlan:
    """The plan of a preset, with some graphs overridden. Raises InputError for names that do not exist."""
    if preset not in PRESETS:
        raise InputError(f"unknown precision {preset!r}; choose {', '.join(PRESETS)}")
    graphs = {spec.name: PRESETS[preset](spec) for spec in specs}
    for name, precision in (overrides or {}).items():
        if name not in graphs:
            raise InputError(f"there is no graph {name!r} to set a precision for; graphs are {', '.join(graphs)}")
        if precision not in list(Precision):
            raise InputError(f"graph {name}: unknown precision {precision!r}; choose {', '.join(Precision)}")
        graphs[name] = Precision(precision)
    return PrecisionPlan(graphs)


def typed_model(model: PlannedModel, plan: PrecisionPlan) -> PlannedModel:
    """`model` with every graph's contract and module in the precision of the plan."""
    specs = {spec.name: typed_spec(spec, plan.graphs[spec.name]) for spec in model.specs}

    def build_graph(name: str) -> nn.Module:
        return apply_precision(model.module(name), specs[name], plan.graphs[name])

    return replace(model, specs=tuple(specs.values()), plan=replace(model.plan, build_graph=build_graph))


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
    """Path of every island of `module` -> its row in `ISLANDS`."""
    rows = [island for island in ISLANDS if precision in island.precisions]
    return {path: island for path, part in module.named_modules() for island in rows if isinstance(part, island.kind)}


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
    return lambda part, given, made: _cast(made, dtype)


def _cast_to_contract(spec: GraphSpec) -> Callable[..., Any]:
    dtypes = [TORCH_DTYPES[tensor.dtype] for tensor in spec.outputs]

    def cast(part: nn.Module, given: Any, made: Any) -> Any:
        if isinstance(made, Tensor):
            return _cast(made, dtypes[0])
        return tuple(_cast(value, dtype) for value, dtype in zip(made, dtypes, strict=True))

    return cast
