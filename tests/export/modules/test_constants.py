"""Computed buffers: found by name, made again on the CPU, never stored."""

from functools import partial

import torch
from torch import Tensor, nn

from hyperseg_export.modules.constants import ConstantModule, constants_of


class Table(ConstantModule):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_constant("squares", lambda: torch.arange(size) ** 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.get_buffer("squares")


def test_constants_are_found_by_their_full_names() -> None:
    module = nn.Sequential(Table(3), nn.Sequential(nn.Linear(1, 1), Table(4)))
    made = {name: make().tolist() for name, make in constants_of(module).items()}
    assert made == {"0.squares": [0, 1, 4], "1.1.squares": [0, 1, 4, 9]}
    assert [name for name, _ in module.named_buffers()] == list(made)


def test_a_constant_of_the_root_has_no_prefix() -> None:
    assert list(constants_of(Table(2))) == ["squares"]


def test_a_constant_is_no_part_of_the_state() -> None:
    assert not Table(2).state_dict()


def test_a_module_without_memory_still_gives_values_on_the_cpu() -> None:
    with torch.device("meta"):
        module = Table(3)
        value = constants_of(module)["squares"]()
    assert module.get_buffer("squares").is_meta
    assert value.device.type == "cpu"
    assert value.tolist() == [0, 1, 4]


def test_makers_do_not_share_loop_variables() -> None:
    module = ConstantModule()
    for size in (1, 2):
        module.register_constant(f"ones_{size}", partial(torch.ones, size))
    assert [make().numel() for make in constants_of(module).values()] == [1, 2]
