"""Nodes and bodies of our operators in graphs of every value type."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from deformable_attention_support import ROUNDED
from hyperseg_export.onnx.lint import check_graph
from hyperseg_export.onnx.weight_store import WeightStore
from hyperseg_export.onnx.writer import export_graph, save_graph
from hyperseg_kernels.deformable_attention import reference
from hyperseg_kernels.deformable_attention.torch_op import deformable_attention, projected_deformable_attention
from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.errors import ExportError

SHAPES = [(3, 4), (2, 5)]
FLAT = [extent for shape in SHAPES for extent in shape]
ROWS, HEADS, CHANNELS, POINTS = 22, 2, 8, 4
GRID = (HEADS, len(SHAPES), POINTS)


class Given(nn.Module):
    def forward(self, value: Tensor, places: Tensor, weights: Tensor) -> Tensor:
        return deformable_attention(value, places.float(), weights.float(), FLAT)


class Projected(nn.Module):
    def forward(self, value: Tensor, places: Tensor, weights: Tensor) -> Tensor:
        references = torch.full((1, 1, 1, 2), 0.5).expand(1, places.shape[1], 1, 2)
        return projected_deformable_attention(value, references, places, weights, FLAT)


class BothTypes(nn.Module):
    """Values of one type in one node, of another in the next."""

    def forward(self, value: Tensor, places: Tensor, weights: Tensor) -> Tensor:
        wide = deformable_attention(value.float(), places.float(), weights.float(), FLAT)
        return deformable_attention(value, places.float(), weights.float(), FLAT) + wide.to(value.dtype)


@pytest.mark.parametrize("module", [Given, Projected])
def test_a_body_takes_the_type_of_its_values(tmp_path: Path, module: type[nn.Module]) -> None:
    """As the schema allows: 16-bit values in and out, float32 locations, the file runs without our kernels."""
    path = written(module, DType.FLOAT16, tmp_path)
    random = torch.Generator().manual_seed(0)
    value = (2 * torch.rand(2, ROWS, HEADS, CHANNELS, generator=random) - 1).half()
    places = (2 * torch.rand(2, 7, *GRID, 2, generator=random) - 0.5).half()
    weights = torch.rand(2, 7, *GRID, generator=random).half()
    (found,) = ort.InferenceSession(path).run(
        None, {"value": value.numpy(), "places": places.numpy(), "weights": weights.numpy()}
    )
    if module is Given:
        expected = reference.deformable_attention(value.double(), places.double(), weights.double(), SHAPES)
        scale = weights.double().sum((3, 4)).repeat_interleave(CHANNELS, 2)
    else:
        centres = torch.full((1, 7, 1, 2), 0.5, dtype=torch.float64)
        expected = reference.projected_attention(value.double(), centres, places.double(), weights.double(), SHAPES)
        scale = torch.ones_like(expected)
    assert np.asarray(found).dtype == np.float16
    assert ((torch.from_numpy(found) - expected).abs() / scale).max() <= ROUNDED["float16"]


def test_the_body_of_bfloat16_values_is_of_that_type(tmp_path: Path) -> None:
    model = onnx.load(written(Given, DType.BFLOAT16, tmp_path))
    onnx.checker.check_model(model)
    assert model.functions[0].node[-1].op_type == "Cast"
    assert model.functions[0].node[-1].attribute[0].i == onnx.TensorProto.BFLOAT16


def test_one_body_cannot_serve_two_types(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot serve 2 levels of FLOAT and 2 levels of FLOAT16"):
        written(BothTypes, DType.FLOAT16, tmp_path)


def written(module: type[nn.Module], dtype: DType, folder: Path) -> Path:
    def tensor(name: str, *axes: int | str) -> TensorSpec:
        return TensorSpec(name=name, dtype=dtype, axes=("batch", *axes))

    used = {"Given": "MultiScaleDeformableAttention", "Projected": "ProjectedDeformableAttention"}
    spec = GraphSpec(
        name="small",
        inputs=(
            tensor("value", ROWS, HEADS, CHANNELS),
            tensor("places", "queries", *GRID, 2),
            tensor("weights", "queries", *GRID),
        ),
        outputs=(tensor("output", "queries", HEADS * CHANNELS),),
        axis_ranges={
            "batch": AxisRange(minimum=1, typical=2, maximum=8),
            "queries": AxisRange(minimum=1, typical=7, maximum=9),
        },
        reuse=Reuse.IMAGE,
        custom_ops=tuple(f"hyperseg::{name}" for key, name in used.items() if key == module.__name__),
    )
    model = export_graph(module().eval(), spec, {})
    path = folder / "small.onnx"
    with WeightStore(folder, {}).open("small.data") as weights:
        save_graph(model, path, weights)
    check_graph(path, spec)
    return path
