"""A module whose weights are in memory only while they are used: for models that are larger than memory."""

from collections.abc import Callable, Iterable, Iterator

from torch import Tensor, nn

from hyperseg_export.checkpoint.weights import ModuleWeights, materialise


def streamed(
    module: nn.Module, values: ModuleWeights, begins: Callable[[int, int], None] = lambda layer, layers: None
) -> nn.Module:
    """Give a module built on the meta device its tensors, those of each layer only while that layer runs.

    A layer is an element of a ModuleList that lies in no other one; its tensors must be used by its own call alone.
    What lies outside of layers stays in memory. `begins` is told of each layer that runs: its number from 1 on, and how
    many there are. Returns the same module.
    """
    tensors: dict[str, Tensor] = dict((*module.named_parameters(), *module.named_buffers()))
    layers = dict(_layers(module))
    materialise(module, values, (name for name in tensors if not _inside(name, layers)))
    for number, (path, layer) in enumerate(layers.items(), 1):
        inside = {name: tensor for name, tensor in tensors.items() if _inside(name, [path])}

        def load(layer: nn.Module, inputs: object, inside: Iterable[str] = tuple(inside), number: int = number) -> None:
            begins(number, len(layers))
            materialise(module, values, inside)

        def drop(layer: nn.Module, inputs: object, outputs: object, inside: dict[str, Tensor] = inside) -> None:
            materialise(module, inside, inside)  # the tensors without values that it was built with

        layer.register_forward_pre_hook(load)
        layer.register_forward_hook(drop)
    return module


def streamed_bytes(module: nn.Module) -> int:
    """The most that a streamed module has in memory: its largest layer, and what lies outside of layers."""
    sizes = {name: tensor.nbytes for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    paths = [path for path, _ in _layers(module)]
    outside = sum(size for name, size in sizes.items() if not _inside(name, paths))
    inside = [sum(size for name, size in sizes.items() if _inside(name, [path])) for path in paths]
    return outside + max(inside, default=0)


def _layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    found: list[str] = []
    for path, part in module.named_modules():
        if isinstance(part, nn.ModuleList) and not _inside(path, found):
            for index, layer in enumerate(part):
                found.append(f"{path}.{index}")
                yield found[-1], layer


def _inside(name: str, paths: Iterable[str]) -> bool:
    return any(name.startswith(f"{path}.") for path in paths)
