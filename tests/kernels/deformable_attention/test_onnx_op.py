"""The ONNX node with its function body, run by ONNX Runtime, against the reference."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy
from onnx import TensorProto

from deformable_attention_support import BODY, ROUNDED, Call, check, model_of, random_call, run, session_of
from hyperseg_export.onnx.lint import IMPORTABLE
from hyperseg_export.onnx.writer import OPSET
from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION, PLUGIN_ATTRIBUTES
from hyperseg_kernels.deformable_attention import onnx_op, reference


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_body_equals_the_reference(calls: SearchStrategy[Call], data: DataObject) -> None:
    value, locations, weights, shapes = data.draw(calls)
    session = session_of(model_of(shapes, value.shape[2], value.shape[3], weights.shape[4]))
    check(run(session, value, locations, weights), value, locations, weights, shapes, BODY)


def test_one_session_takes_any_batch_and_number_of_queries() -> None:
    shapes = [(4, 5), (1, 1), (9, 11)]
    session = session_of(model_of(shapes, heads=2, channels=8, points=4))
    for batch, queries in ((1, 1), (2, 13), (5, 1), (1, 120)):
        value, locations, weights, _ = random_call(batch, queries, 2, 8, 4, shapes)
        check(run(session, value, locations, weights), value, locations, weights, shapes, BODY)


def test_16_bit_values_are_summed_in_float32() -> None:
    value, locations, weights, shapes = random_call(2, 40, 3, 16, 4, [(4, 5), (30, 128)])
    session = session_of(model_of(shapes, 3, 16, 4, value_type=TensorProto.FLOAT16))
    found = run(session, value.half(), locations, weights)
    expected = reference.deformable_attention(value.half().double(), locations.double(), weights.double(), shapes)
    assert found.dtype == np.float16
    scale = weights.sum((3, 4)).repeat_interleave(16, 2)
    assert ((torch.from_numpy(found) - expected).abs() / scale).max() <= ROUNDED["float16"]


@pytest.mark.parametrize("value_type", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16])
@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_checker_and_shape_inference_accept_the_model(levels: int, value_type: int) -> None:
    model = model_of([(3, 4)] * levels, heads=2, channels=8, points=4, value_type=value_type)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    (output,) = inferred.graph.output
    assert (output.name, output.type.tensor_type.elem_type) == ("output", value_type)


def test_body_holds_only_operators_that_engines_import_and_no_grid_sample() -> None:
    body = onnx_op.function_body(3, OPSET)
    used = {node.op_type for node in body.node}
    assert {node.domain for node in body.node} == {""}
    assert used <= IMPORTABLE - {"GridSample"}


def test_body_and_schema_agree_on_names_and_order() -> None:
    onnx_op.register_schema()
    schema = onnx.defs.get_schema(DEFORMABLE_ATTENTION.name, DEFORMABLE_ATTENTION.version, DEFORMABLE_ATTENTION.domain)
    body = onnx_op.function_body(2, OPSET)
    assert [parameter.name for parameter in schema.inputs] == list(body.input)
    assert [parameter.name for parameter in schema.outputs] == list(body.output)
    assert list(body.attribute) == ["level_shapes"]
    assert (body.domain, body.name) == (DEFORMABLE_ATTENTION.domain, DEFORMABLE_ATTENTION.name)
    assert set(schema.attributes) == {"level_shapes", *PLUGIN_ATTRIBUTES}


def test_schema_can_be_registered_again() -> None:
    onnx_op.register_schema()
    onnx_op.register_schema()
    assert onnx.defs.has(DEFORMABLE_ATTENTION.name, DEFORMABLE_ATTENTION.domain)
