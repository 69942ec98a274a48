"""Random checkpoints: reproducible tensor by tensor, and without a value that could hide a bug."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hyperseg_export.checkpoint.random_weights import SMALLEST, TRAINING_STEPS, RandomCheckpoint, batch_norm_statistics

LAYOUT = [
    ("matrix.weight", (64, 48), torch.float32),
    ("conv.weight", (32, 4, 3, 3), torch.float16),
    ("norm.weight", (4096,), torch.float16),
    ("dense.bias", (4096,), torch.float32),
    ("packed.in_proj_bias", (4096,), torch.float32),
    ("table", (512, 16), torch.float32),
    ("index", (6,), torch.int64),
]


def test_shapes_and_dtypes_are_the_layouts() -> None:
    checkpoint = make(0)
    for name, shape, dtype in LAYOUT:
        assert checkpoint.shapes[name] == shape
        assert checkpoint.dtypes[name] == dtype
        assert checkpoint.tensor(name).shape == shape
        assert checkpoint.tensor(name).dtype == dtype


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**40), st.permutations(LAYOUT), st.integers(1, len(LAYOUT)))
def test_a_tensor_depends_on_seed_and_name_alone(seed: int, order: list[tuple], kept: int) -> None:
    one = make(seed)
    other = RandomCheckpoint(order[:kept], seed, special)
    for name, _, _ in order[:kept]:
        assert torch.equal(one.tensor(name), other.tensor(name))


def test_making_tensors_leaves_torchs_own_generator_alone() -> None:
    before = torch.random.get_rng_state()
    make(0).tensor("matrix.weight")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seeds_and_names_give_different_values() -> None:
    assert not torch.equal(make(0).tensor("dense.bias"), make(1).tensor("dense.bias"))
    assert not torch.equal(make(0).tensor("dense.bias"), make(0).tensor("packed.in_proj_bias"))


@pytest.mark.parametrize("name", [name for name, _, _ in LAYOUT if name not in ("index", "table")])
def test_no_value_is_zero_not_even_in_float16(name: str) -> None:
    value = make(3).tensor(name)
    assert value.half().all()
    assert value.isfinite().all()


def test_noise_near_zero_is_moved_away() -> None:
    checkpoint = RandomCheckpoint([("many.bias", (300_000,), torch.float32)], 0, special)
    assert checkpoint.tensor("many.bias").abs().min().item() >= 0.09 * SMALLEST


@pytest.mark.parametrize(
    ("name", "mean", "spread"),
    [
        ("norm.weight", 1.0, 0.2),
        ("dense.bias", 0.0, 0.1),
        ("packed.in_proj_bias", 0.0, 0.1),
        ("matrix.weight", 0.0, 48**-0.5),
        ("conv.weight", 0.0, 36**-0.5),
    ],
)
def test_gains_lie_around_one_and_matrices_keep_the_size_of_what_they_multiply(
    name: str, mean: float, spread: float
) -> None:
    value = make(0).tensor(name).float()
    assert value.mean().item() == pytest.approx(mean, abs=0.15 * spread)
    assert value.std().item() == pytest.approx(spread, rel=0.1)


def test_special_values_go_before_the_rule() -> None:
    checkpoint = make(0)
    assert checkpoint.tensor("index").tolist() == [0, 1, 2, 3, 4, 5]
    assert checkpoint.tensor("table").std().item() == pytest.approx(1, rel=0.1)


def test_statistics_are_those_of_a_norm_that_was_trained() -> None:
    noise = torch.linspace(-3, 3, 7)
    variances, means = (batch_norm_statistics(f"bn.{kind}", noise) for kind in ("running_var", "running_mean"))
    assert torch.equal(variances, (0.3 * noise).exp()) and torch.equal(means, 0.1 * noise)
    assert batch_norm_statistics("bn.num_batches_tracked", torch.tensor(0.5)) == TRAINING_STEPS
    assert batch_norm_statistics("bn.weight", noise) is None


def make(seed: int) -> RandomCheckpoint:
    return RandomCheckpoint(LAYOUT, seed, special)


def special(name: str, noise: Tensor) -> Tensor | None:
    if name == "index":
        return torch.arange(noise.numel())
    return noise if name == "table" else None
