"""An engine that is wrong somewhere: the search names the place and leaves a case that holds the same node."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from polygraphy.comparator import RunResults
from polygraphy.json import load_json

from hyperseg_export.engine.build import build_engines
from hyperseg_export.engine.options import BuildOptions
from hyperseg_export.jobs.progress import Silent
from hyperseg_runtime.bundle.engines import engine_folder
from hyperseg_runtime.errors import ParityError

TARGET = "sm90-trt11.4-test-gpu-80gb"


@pytest.fixture
def bundle(mixed_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mixed_bundle, tmp_path / "bundle"))


def matrix_products(bundle: Path, graph: str) -> list[onnx.NodeProto]:
    model = onnx.load(bundle / "graphs" / f"{graph}.onnx", load_external_data=False)
    kinds = {value.name for value in model.graph.value_info}
    return [node for node in model.graph.node if node.op_type == "MatMul" and node.output[0] in kinds]


@pytest.mark.slow
@pytest.mark.usefixtures("tensorrt_double")
@pytest.mark.parametrize("place", [0, -1])
def test_the_first_wrong_node_is_found_and_left_as_a_case(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    wrong = matrix_products(bundle, "llm")[place]
    monkeypatch.setenv("DOUBLE_FAULT", f"wrong node {wrong.name}")
    with pytest.raises(ParityError, match=rf"differs first in {wrong.output[0]} \(MatMul\), cosine distance"):
        build_engines(bundle, BuildOptions(), ["llm"], bisect=True)
    case = engine_folder(bundle, TARGET) / "llm.case"
    assert {path.name for path in case.iterdir()} == {"model.onnx", "inputs.json", "outputs.json", "README.txt"}
    model = onnx.load(case / "model.onnx")
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node if node.op_type != "Cast"] == ["MatMul"]
    (inputs,) = load_json(str(case / "inputs.json"))
    assert inputs.keys() == {value.name for value in model.graph.input}
    ((_, iterations),) = RunResults.load(str(case / "outputs.json")).items()
    expected = iterations[0][f"{wrong.output[0]}.float32"]
    assert np.isfinite(expected).all() and expected.any()
    assert "polygraphy run model.onnx --trt" in (case / "README.txt").read_text()
    if not {16} & {entry.data_type for entry in model.graph.initializer}:  # ONNX Runtime's CPU has no bfloat16
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(session.run(None, inputs)[0], expected, rtol=0, atol=2e-2 * np.abs(expected).max())


@pytest.mark.usefixtures("tensorrt_double")
def test_an_error_that_goes_away_is_said_to_be_fusion(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here every engine with the contract's outputs is wrong, and its tensors on the way are right."""
    monkeypatch.setenv("DOUBLE_FAULT", "wrong outputs")
    with pytest.raises(
        ParityError, match=r"no tensor on the way differs once it is an output \([1-4] builds\): fusion"
    ):
        build_engines(bundle, BuildOptions(), ["lm_head"], bisect=True)


@pytest.mark.usefixtures("tensorrt_double")
def test_nothing_is_searched_unasked(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stages(Silent):
        def stage(self, name: str, index: int, count: int) -> None:
            assert not name.startswith("bisect")

    monkeypatch.setenv("DOUBLE_FAULT", "wrong numbers")
    with pytest.raises(ParityError):
        build_engines(bundle, BuildOptions(), ["lm_head"], Stages())
