"""The ONNX node: by its body and by the native kernel, both in ONNX Runtime, against the reference."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from onnx import TensorProto

from hyperseg_export.onnx.lint import IMPORTABLE
from hyperseg_export.onnx.writer import OPSET
from hyperseg_kernels.mask_readout import onnx_op
from hyperseg_kernels.mask_readout.reference import PARTS
from mask_readout_support import Case, cases, check, model_of, random_case, run, session_of

FORMS = ("body", "native")


@pytest.fixture(scope="module")
def sessions(cpu_op_library: Path) -> dict[tuple[str, int], object]:
    types = TensorProto.FLOAT, TensorProto.FLOAT16
    libraries = {"body": [], "native": [cpu_op_library]}
    return {(form, kind): session_of(libraries[form], kind) for form in FORMS for kind in types}


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None, max_examples=80)
@given(case=cases())
def test_equals_the_reference(sessions: dict, form: str, case: Case) -> None:  # type: ignore[type-arg]
    check(run(sessions[form, TensorProto.FLOAT], case), case)


@pytest.mark.parametrize("form", FORMS)
def test_float16_logits_are_read_as_they_are(sessions: dict, form: str) -> None:  # type: ignore[type-arg]
    case = random_case(1, (2, 9, 32, 48), 3, (120, 90))
    case = Case(case.logits.astype(np.float16), case.shown, case.rows, case.columns)
    check(run(sessions[form, TensorProto.FLOAT16], case), case)


@pytest.mark.parametrize("image_hw", [(1080, 1920), (37, 2000), (3, 3)])
def test_large_and_small_images(sessions: dict, image_hw: tuple[int, int]) -> None:  # type: ignore[type-arg]
    case = random_case(2, (1, 3, 64, 64), 1, image_hw, padded_px=256)
    check(run(sessions["native", TensorProto.FLOAT], case), case)


def test_threads_do_not_change_the_result(cpu_op_library: Path) -> None:
    case = random_case(3, (2, 20, 40, 40), 2, (333, 250))
    one, two = (run(session_of([cpu_op_library], threads=threads), case) for threads in (1, 2))
    assert all(np.array_equal(first, second) for first, second in zip(one, two, strict=True))


def test_no_images_no_queries_and_no_masks(sessions: dict) -> None:  # type: ignore[type-arg]
    for size in ((0, 3, 8, 8), (1, 0, 8, 8)):
        case = random_case(4, (1, 3, 8, 8), 0, (20, 20))
        case = Case(np.zeros(size, np.float32), np.zeros((size[0], 0), np.int32), case.rows, case.columns)
        sums, areas, pixels = run(sessions["native", TensorProto.FLOAT], case)
        assert sums.shape == areas.shape == (*size[:2], PARTS) and pixels.shape == (size[0], 0, 20, 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shown": np.array([[3]], np.int32)}, "a query that is not there"),
        ({"shown": np.array([[-1]], np.int32)}, "a query that is not there"),
        ({"shown": np.zeros((2, 1), np.int32)}, r"shown \(B, M\)"),
        ({"row_index": np.full((4, 20), 8, np.int32)}, "with rows of mask_logits"),
        ({"column_index": np.full((4, 20), -1, np.int32)}, "with columns of mask_logits"),
        ({"column_weight": np.ones((4, 19), np.float32)}, "with columns of mask_logits"),
        ({"row_index": np.zeros((3, 20), np.int32), "row_weight": np.ones((3, 20), np.float32)}, "with rows"),
    ],
)
def test_tables_that_would_read_outside_are_refused(
    cpu_op_library: Path, change: dict[str, np.ndarray], message: str
) -> None:
    model = model_of()
    for dim in (dim for info in model.graph.input for dim in info.type.tensor_type.shape.dim):
        dim.Clear()  # any shape passes the model's own check
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.register_custom_ops_library(str(cpu_op_library))
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    case = random_case(5, (1, 3, 8, 8), 1, (20, 20))
    with pytest.raises(Exception, match=message):
        session.run(None, case.inputs() | change)


@pytest.mark.parametrize("value_type", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_checker_and_shape_inference_accept_the_model(value_type: int) -> None:
    model = model_of(value_type)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def test_body_holds_only_operators_that_engines_import() -> None:
    body = onnx_op.function_body(OPSET)
    assert {node.domain for node in body.node} == {""}
    assert {node.op_type for node in body.node} <= IMPORTABLE


def test_body_and_schema_agree_on_names_and_order() -> None:
    onnx_op.register_schema()
    schema = onnx.defs.get_schema("MaskReadout", 1, "hyperseg")
    body = onnx_op.function_body(OPSET)
    assert [parameter.name for parameter in schema.inputs] == list(body.input)
    assert [parameter.name for parameter in schema.outputs] == list(body.output)
