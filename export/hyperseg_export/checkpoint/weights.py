"""Our tensors out of a checkpoint: renamed, packed, transposed and given the module's type, one at a time."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from hyperseg_export.checkpoint.key_map import KeyMap, Shape, TensorSource
from hyperseg_export.modules.constants import constants_of
from hyperseg_export.modules.linear import Linear
from hyperseg_runtime.errors import ExportError


def transposed_names(module: nn.Module) -> set[str]:
    """Parameters stored (in, out) here and (out, in) in checkpoints."""
    return {
        f"{prefix}.weight" if prefix else "weight"
        for prefix, part in module.named_modules()
        if isinstance(part, Linear)
    }


def checkpoint_shapes(modules: Iterable[nn.Module]) -> dict[str, Shape]:
    """Every parameter's shape in the layout of a checkpoint."""
    shapes: dict[str, Shape] = {}
    for module in modules:
        swapped = transposed_names(module)
        for name, parameter in module.named_parameters():
            shape = tuple(parameter.shape)
            shapes[name] = shape[::-1] if name in swapped else shape
    return shapes


class Weights:
    """Values of our parameters, computed when asked for."""

    def __init__(self, source: TensorSource, key_map: KeyMap) -> None:
        self.source = source
        self.key_map = key_map

    def stored(self, name: str) -> Tensor:
        """In the checkpoint's layout and dtype."""
        origin = self.key_map.origins[name]
        return origin.transform(*(self.source.tensor(source) for source in origin.sources))

    def of_module(self, module: nn.Module) -> "ModuleWeights":
        return ModuleWeights(self, module)


class ModuleWeights:
    """Values of one module's parameters, in the types the module has, and its computed tables; contiguous.

    Raises ExportError for a value that the type cannot hold.
    """

    def __init__(self, weights: Weights, module: nn.Module) -> None:
        self._weights = weights
        self._swapped = transposed_names(module)
        self._constants = constants_of(module)
        self._types = {name: parameter.dtype for name, parameter in module.named_parameters()}

    def __getitem__(self, name: str) -> Tensor:
        if name in self._constants:
            return self._constants[name]().contiguous()
        stored = self._weights.stored(name)
        value = stored.to(self._types[name])
        if value.dtype is torch.float16 and not value.isfinite().all():
            raise ExportError(f"{name} holds {stored.abs().max():.3g}, too large for float16; use bf16 for its graph")
        return (value.t() if name in self._swapped else value).contiguous()


def materialise(
    module: nn.Module, values: Mapping[str, Tensor] | ModuleWeights, names: Iterable[str] | None = None
) -> nn.Module:
    """Give a module built on the meta device real tensors, all or those of these names. Returns the same module."""
    if names is None:
        names = [name for name, _ in (*module.named_parameters(), *module.named_buffers())]
    for name in names:
        path, _, leaf = name.rpartition(".")
        part = module.get_submodule(path)
        value = values[name]
        if leaf in part._parameters:
            part._parameters[leaf] = nn.Parameter(value, requires_grad=False)
        else:
            part._buffers[leaf] = value
    return module
