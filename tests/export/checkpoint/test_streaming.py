"""Layers have values only while they run, and nothing else changes."""

import torch
from torch import Tensor, nn

from hyperseg_export.checkpoint.streaming import streamed, streamed_bytes


class Stack(nn.Module):
    """A table, two layers of which one holds a list of its own, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(4))
        self.layers = nn.ModuleList([nn.Linear(4, 4), Inner()])
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.bias
        for layer in self.layers:
            x = layer(x)
            self.seen = loaded(self)
        result: Tensor = self.head(x)
        return result


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        self.seen = loaded(self)
        return x


def loaded(module: nn.Module) -> set[str]:
    return {name for name, tensor in module.named_parameters() if not tensor.is_meta}


def test_a_streamed_module_computes_the_same_with_one_layer_in_memory() -> None:
    torch.manual_seed(0)
    whole = Stack()
    nn.init.normal_(whole.bias)
    with torch.device("meta"):
        empty = Stack()
    asked: list[str] = []

    class Values:
        def __getitem__(self, name: str) -> Tensor:
            asked.append(name)
            return dict(whole.named_parameters())[name].detach()

    begun: list[tuple[int, int]] = []
    made = streamed(empty, Values(), lambda *layer: begun.append(layer))  # type: ignore[arg-type]
    outside = {"bias", "head.weight", "head.bias"}
    assert made is empty and set(asked) == loaded(empty) == outside
    x = torch.randn(3, 4)
    with torch.inference_mode():
        for _ in range(2):
            assert torch.equal(empty(x), whole(x))
    assert empty.seen == loaded(empty) == outside
    assert len(empty.layers[1].seen) == 6  # type: ignore[arg-type]
    assert asked.count("layers.0.weight") == 2
    assert begun == 2 * [(number, begun[0][1]) for number in range(1, begun[0][1] + 1)]


def test_what_it_needs_is_its_largest_layer_and_the_rest() -> None:
    linear = 4 * (16 + 4)
    assert streamed_bytes(Stack()) == 3 * linear + 4 * 4 + 4 * (8 + 2)
