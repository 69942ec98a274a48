"""Our tensors out of a checkpoint: layout, dtype and place."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from hyperseg_export.checkpoint.key_map import KeyMap, Origin, pack, same
from hyperseg_export.checkpoint.weights import Weights, checkpoint_shapes, materialise, transposed_names
from hyperseg_export.modules.constants import ConstantModule
from hyperseg_export.modules.linear import Linear

TENSORS = {
    "q": torch.randn(2, 3).half(),
    "k": torch.randn(3, 3).half(),
    "bias": torch.randn(5).to(torch.bfloat16),
    "conv": torch.randn(1, 2, 1, 1),
    "conv_bias": torch.randn(1),
}


class Part(ConstantModule):
    """A dense layer, whose matrix is swapped, and everything that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = Linear(3, 5)
        self.conv = nn.Conv2d(2, 1, 1)
        self.register_constant("table", lambda: torch.arange(6, dtype=torch.int32).reshape(2, 3).t())

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x) + self.conv(torch.ones(1, 2, 1, 1)).flatten() + self.get_buffer("table").sum()


class Source:
    shapes: Mapping[str, tuple[int, ...]] = {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}

    def tensor(self, name: str) -> Tensor:
        return TENSORS[name]


@pytest.fixture
def weights() -> Weights:
    origins = {
        "dense.weight": Origin(("q", "k"), pack),
        "dense.bias": Origin(("bias",), same),
        "conv.weight": Origin(("conv",), same),
        "conv.bias": Origin(("conv_bias",), same),
    }
    return Weights(Source(), KeyMap(origins))


def test_only_dense_matrices_are_swapped() -> None:
    assert transposed_names(Part()) == {"dense.weight"}
    assert transposed_names(nn.Sequential(Part(), nn.LayerNorm(2))) == {"0.dense.weight"}
    assert transposed_names(Linear(1, 2)) == {"weight"}


def test_checkpoint_shapes_are_out_times_in() -> None:
    assert checkpoint_shapes([Part()]) == {
        "dense.weight": (5, 3),
        "dense.bias": (5,),
        "conv.weight": (1, 2, 1, 1),
        "conv.bias": (1,),
    }


def test_stored_values_keep_layout_and_dtype(weights: Weights) -> None:
    stored = weights.stored("dense.weight")
    assert stored.dtype == torch.float16
    assert torch.equal(stored, torch.cat((TENSORS["q"], TENSORS["k"])))


def test_module_values_are_float32_contiguous_and_swapped(weights: Weights) -> None:
    values = weights.of_module(Part())
    dense = values["dense.weight"]
    assert torch.equal(dense, torch.cat((TENSORS["q"], TENSORS["k"])).t().float())
    assert torch.equal(values["dense.bias"], TENSORS["bias"].float())
    assert torch.equal(values["conv.weight"], TENSORS["conv"])
    for name in ("dense.weight", "dense.bias", "conv.weight", "conv.bias"):
        assert values[name].dtype == torch.float32
        assert values[name].is_contiguous()


def test_tables_come_from_their_makers_as_they_are(weights: Weights) -> None:
    with torch.device("meta"):
        module = Part()
    table = weights.of_module(module)["table"]
    assert table.dtype == torch.int32
    assert table.is_contiguous()
    assert table.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_module_without_memory_becomes_the_module(weights: Weights) -> None:
    with torch.device("meta"):
        module = Part().eval()
    made = materialise(module, weights.of_module(module))
    x = torch.randn(4, 3)
    matrix = torch.cat((TENSORS["q"], TENSORS["k"])).float()
    expected = x @ matrix.t() + TENSORS["bias"].float() + TENSORS["conv"].sum() + TENSORS["conv_bias"] + 15
    assert made is module
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in made.parameters())
    assert torch.allclose(made(x), expected, atol=1e-5)


def test_an_unmapped_parameter_is_an_error(weights: Weights) -> None:
    with torch.device("meta"):
        module = nn.Sequential(Part())
    with pytest.raises(KeyError, match=r"0\.dense\.weight"):
        materialise(module, weights.of_module(module))
