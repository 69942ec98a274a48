"""The GridSample body is the same operator wherever locations are finite."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from deformable_attention_support import BODY, Call, check, model_of, run, session_of
from hyperseg_export.onnx.writer import OPSET
from hyperseg_kernels.deformable_attention import onnx_grid_sample, onnx_op


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_equals_the_reference(finite_calls: SearchStrategy[Call], data: DataObject) -> None:
    value, locations, weights, shapes = data.draw(finite_calls)
    body = onnx_grid_sample.function_body(len(shapes), OPSET)
    session = session_of(model_of(shapes, value.shape[2], value.shape[3], weights.shape[4], body))
    check(run(session, value, locations, weights), value, locations, weights, shapes, BODY)


def test_has_the_signature_of_the_exported_body() -> None:
    exported, other = onnx_op.function_body(2, OPSET), onnx_grid_sample.function_body(2, OPSET)
    for field in ("domain", "name", "attribute", "input", "output"):
        assert getattr(other, field) == getattr(exported, field)
