"""What stands in for an operator in training computes the same, with the right gradient."""

import pytest
import torch
from torch import Tensor

from hyperseg_export.families.hyperseg.training.differentiable import (
    DifferentiableRotary,
    DifferentiableSampling,
    make_differentiable,
)
from hyperseg_export.modules.cache_op import cache_update
from hyperseg_export.modules.phi import RotaryEmbedding
from hyperseg_export.modules.pixel_decoder import DeformableSampling
from hyperseg_export.modules.positions import rotary_tables
from hyperseg_kernels.deformable_attention import reference


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rotation_is_the_operators() -> None:
    x = random(2, 3, 5, 16).float()
    cos, sin = rotary_tables(20, 6, 10000.0)
    positions = torch.tensor([[0, 3, 4, 9, 19], [1, 1, 2, 3, 5]])
    torch.testing.assert_close(
        DifferentiableRotary(6)(x, cos, sin, positions), RotaryEmbedding(6)(x, cos, sin, positions)
    )


def test_sampling_and_its_gradients_are_the_references() -> None:
    shapes = [(3, 4), (6, 5)]
    value = random(2, 42, 2, 3, seed=1).requires_grad_()
    locations = (0.5 + 0.5 * random(2, 7, 2, 2, 3, 2, seed=2)).requires_grad_()  # some lie outside
    weights = random(2, 7, 2, 2, 3, seed=3).requires_grad_()
    upstream = random(2, 7, 6, seed=4)
    made = DifferentiableSampling([extent for shape in shapes for extent in shape])(value, locations, weights)
    expected = reference.deformable_attention(value, locations, weights, shapes)
    torch.testing.assert_close(made, expected)
    ours = torch.autograd.grad((made * upstream).sum(), (value, locations, weights))
    theirs = torch.autograd.grad((expected * upstream).sum(), (value, locations, weights))
    for gradient, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, wanted)


def test_stand_ins_take_the_place_of_submodules_without_parameters() -> None:
    module = torch.nn.ModuleDict(
        {"a": RotaryEmbedding(4), "b": DeformableSampling([(2, 3)]), "c": torch.nn.Linear(2, 2)}
    )
    before = {name for name, _ in module.named_parameters()}
    made = make_differentiable(module)
    assert isinstance(made.get_submodule("a"), DifferentiableRotary)
    assert isinstance(made.get_submodule("b"), DifferentiableSampling)
    assert {name for name, _ in made.named_parameters()} == before


@pytest.mark.parametrize("through_cache", [False, True])
def test_a_written_cache_passes_each_slot_its_own_gradient(through_cache: bool) -> None:
    cache, update = random(2, 1, 5, 3).requires_grad_(through_cache), random(2, 1, 2, 3, seed=1).requires_grad_()
    starts = torch.tensor([0, 3])
    upstream = random(2, 1, 5, 3, seed=2)
    (cache_update(cache, update, starts) * upstream).sum().backward()
    expected = torch.stack([upstream[0, :, 0:2], upstream[1, :, 3:5]])
    torch.testing.assert_close(update.grad, expected)
    if through_cache:
        kept = upstream.clone()
        kept[0, :, 0:2] = kept[1, :, 3:5] = 0
        torch.testing.assert_close(cache.grad, kept)
