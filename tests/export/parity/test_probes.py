"""Probes add outputs, never change those that are there, and name the axes of what they add."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hyperseg_export.onnx.weight_store import WeightStore
from hyperseg_export.onnx.writer import export_graph, save_graph
from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.probes import NO_PROBE, Probe, Probed, ProbedWeights, Taps, probed_spec
from hyperseg_export.parity.tolerances import FEATURE
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec

SPEC = GraphSpec(
    name="twice",
    inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, axes=("batch", "tokens", 4)),),
    outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, axes=("batch", "tokens", 4)),),
    axis_ranges={axis: AxisRange(minimum=1, typical=2, maximum=8) for axis in ("batch", "tokens")},
    reuse=Reuse.IMAGE,
)


class Twice(nn.Module):
    """The same layer called two times, between them a part that gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.split = Split()

    def forward(self, x: Tensor) -> Tensor:
        large, _ = self.split(self.layer(x))
        y: Tensor = self.layer(large)
        return y


class Split(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.relu(), x > 0


def outputs_of(taps: Taps, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    return {
        "second": taps["layer"][1].exp(),
        "first": taps["layer"][0].transpose(0, 1),
        "positive": taps["split"][0][1],
        "total": taps["split"][0][0].sum(1),
        "doubled": 2 * inputs[0][:, :, 0],
    }


PROBE = Probe(("layer", "split"), outputs_of)
ADDED = {
    "doubled": (DType.FLOAT32, ("batch", "tokens")),
    "first": (DType.FLOAT32, ("tokens", "batch", 4)),
    "positive": (DType.BOOL, ("batch", "tokens", 4)),
    "second": (DType.FLOAT32, ("batch", "tokens", 4)),
    "total": (DType.FLOAT32, ("batch", 4)),
}


@pytest.fixture
def module() -> Twice:
    torch.manual_seed(0)
    return Twice().eval().requires_grad_(False)


def test_normal_outputs_come_first_and_unchanged(module: Twice) -> None:
    x = torch.randn(2, 3, 4)
    y, doubled, first, positive, second, total = Probed(module, PROBE)(x)
    inner = module.layer(x)
    assert torch.equal(y, module(x))
    assert torch.equal(doubled, 2 * x[:, :, 0])
    assert torch.equal(first, inner.transpose(0, 1))
    assert torch.equal(positive, inner > 0)
    assert torch.equal(second, y.exp())
    assert torch.equal(total, inner.relu().sum(1))


def test_without_a_probe_only_the_outputs_are_there(module: Twice) -> None:
    x = torch.randn(2, 3, 4)
    (y,) = Probed(module, NO_PROBE)(x)
    assert torch.equal(y, module(x))


def test_no_hook_stays_behind(module: Twice) -> None:
    probed = Probed(module, PROBE)
    probed(torch.randn(1, 2, 4))
    with pytest.raises(RuntimeError):
        probed(torch.randn(1, 2, 5))
    assert not any(part._forward_hooks for part in module.modules())


def test_an_unknown_path_is_an_error(module: Twice) -> None:
    with pytest.raises(AttributeError, match="absent"):
        Probed(module, Probe(("absent",), outputs_of))(torch.randn(1, 2, 4))


def test_added_axes_carry_the_names_of_the_inputs() -> None:
    with torch.device("meta"):
        module = Twice().eval()
    spec = probed_spec(Probed(module, PROBE), SPEC)
    assert spec.inputs == SPEC.inputs
    assert spec.outputs[:1] == SPEC.outputs
    assert {t.name: (t.dtype, t.axes) for t in spec.outputs[1:]} == ADDED
    assert spec.output_names() == ["y", *sorted(ADDED)]
    assert GraphSpec.model_validate(spec.model_dump()) == spec


def test_an_exported_probe_shows_the_same_values(module: Twice, tmp_path: Path) -> None:
    """And the weights of the wrapped module are found by their own names."""
    with torch.device("meta"):
        bare = Twice().eval()
    probed = Probed(bare, PROBE)
    spec = probed_spec(probed, SPEC)
    values = ProbedWeights(dict(module.named_parameters()))
    path = tmp_path / "twice.onnx"
    with WeightStore(tmp_path, {}).open("twice.data") as weights:
        save_graph(export_graph(probed, spec, values), path, weights)
    x = torch.randn(3, 5, 4)
    with OnnxRuntimeBackend() as backend:
        found = backend.open(spec, path).run({"x": backend.upload(x.numpy())})
        arrays = {name: buffer.to_host() for name, buffer in found.items()}
    expected = Probed(module, PROBE)(x)
    for name, tensor in zip(spec.output_names(), expected, strict=True):
        assert worst_error(arrays[name], tensor.numpy()) < FEATURE, name
