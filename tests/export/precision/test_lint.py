"""A graph that does not hold its plan is found out, whichever way it differs."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from torch import nn

from hyperseg_export.export import write_graph
from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_export.precision.lint import check_precision
from hyperseg_export.precision.typed import choose_precisions, typed_model
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import ExportError

Change = Callable[[onnx.ModelProto], None]


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """The tiny language model in bf16: file and module."""
    folder = tmp_path_factory.mktemp("typed")
    model = EXPORT_FAMILIES["hyperseg"].random.model("tiny", 0)
    typed = typed_model(model, choose_precisions(model.specs, "mixed"))
    files, _ = write_graph(typed, typed.spec("llm"), folder, {}, Precision.BF16)
    return folder / files[0], typed.module("llm")


@pytest.mark.slow
def test_the_types_of_a_graph_are_counted(llm: tuple[Path, nn.Module]) -> None:
    assert check_precision(*llm, Precision.BF16) == {
        "Attention bfloat16": 2,
        "Gelu bfloat16": 2,
        "LayerNormalization float32": 3,
        "MatMul bfloat16": 8,
        "RotaryEmbedding float32": 4,
    }


def widen_a_weight(model: onnx.ModelProto) -> None:
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == "phi.layers.1.out.weight")
    weight.data_type = onnx.TensorProto.FLOAT


def drop_the_first_cast(model: onnx.ModelProto) -> None:
    cast = next(node for node in model.graph.node if node.op_type == "Cast")
    cast.attribute[0].i = onnx.TensorProto.FLOAT


def move_a_norm_out_of_its_module(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "LayerNormalization").name = "norm"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (widen_a_weight, r"weight phi.layers.1.out.weight is FLOAT, expected BFLOAT16"),
        (drop_the_first_cast, r"MatMul of phi.layers.0.qkv is FLOAT, expected BFLOAT16"),
        (move_a_norm_out_of_its_module, r"LayerNormalization of the graph itself is FLOAT, expected BFLOAT16"),
    ],
)
def test_a_deviation_is_named(llm: tuple[Path, nn.Module], change: Change, message: str) -> None:
    path, module = llm
    model = onnx.load(path, load_external_data=False)
    change(model)
    broken = path.with_name("broken.onnx")
    broken.write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match=message):
        check_precision(broken, module, Precision.BF16)


def test_a_narrow_island_is_named_with_its_reason(llm: tuple[Path, nn.Module]) -> None:
    """The bf16 graph judged as fp16: there, attention is an island too."""
    with pytest.raises(ExportError, match="island: attention scores of Phi-2 overflow float16"):
        check_precision(*llm, Precision.FP16)
