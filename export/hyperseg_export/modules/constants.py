"""Buffers that are computed, not loaded: they can be made again when a module was built without memory."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn


class ConstantModule(nn.Module):
    """A module whose buffers are functions of its configuration.

    On the meta device a buffer has no values. `constants()` computes them on demand, so a graph can be
    exported from a memory-less module and still get its tables.
    """

    def __init__(self) -> None:
        super().__init__()
        self._makers: dict[str, Callable[[], Tensor]] = {}

    def register_constant(self, name: str, make: Callable[[], Tensor]) -> None:
        self._makers[name] = make
        self.register_buffer(name, make(), persistent=False)

    def constants(self) -> Iterator[tuple[str, Callable[[], Tensor]]]:
        yield from self._makers.items()


def constants_of(module: nn.Module) -> dict[str, Callable[[], Tensor]]:
    """Full buffer name -> function that computes its value on the CPU."""
    found: dict[str, Callable[[], Tensor]] = {}
    for prefix, part in module.named_modules():
        if isinstance(part, ConstantModule):
            for name, make in part.constants():
                found[f"{prefix}.{name}" if prefix else name] = _on_cpu(make)
    return found


def _on_cpu(make: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with torch.device("cpu"):
            return make()

    return run
