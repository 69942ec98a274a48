"""The ONNX node with its function body, run by ONNX Runtime, against the reference."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy
from onnx import TensorProto, helper
from torch import Tensor

from hyperseg_export.onnx_lint import IMPORTABLE
from hyperseg_export.onnx_writer import IR_VERSION, OPSET
from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION
from hyperseg_kernels.deformable_attention import onnx_op, reference

SINGLE = 2e-5
"""Per unit of weight. Float32 coordinates up to 32 px are 4e-6 px apart, neighbouring pixels differ by up to 2."""

Call = tuple[Tensor, Tensor, Tensor, list[tuple[int, int]]]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_body_equals_the_reference(calls: SearchStrategy[Call], data: DataObject) -> None:
    value, locations, weights, shapes = data.draw(calls)
    session = session_of(model_of(shapes, value.shape[2], value.shape[3], weights.shape[4]))
    check(session, value, locations, weights, shapes)


def test_one_session_takes_any_batch_and_number_of_queries() -> None:
    shapes = [(4, 5), (1, 1), (9, 11)]
    session = session_of(model_of(shapes, heads=2, channels=8, points=4))
    random = torch.Generator().manual_seed(0)
    for batch, queries in ((1, 1), (2, 13), (5, 1), (1, 120)):
        value = 2 * torch.rand(batch, 120, 2, 8, generator=random) - 1
        locations = 2 * torch.rand(batch, queries, 2, 3, 4, 2, generator=random) - 0.5
        weights = torch.rand(batch, queries, 2, 3, 4, generator=random)
        check(session, value, locations, weights, shapes)


@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_checker_and_shape_inference_accept_the_model(levels: int) -> None:
    model = model_of([(3, 4)] * levels, heads=2, channels=8, points=4)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    assert [value.name for value in inferred.graph.output] == ["output"]


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
    assert set(schema.attributes) == {"level_shapes", *onnx_op.PLUGIN_ATTRIBUTES}


def test_schema_can_be_registered_again() -> None:
    onnx_op.register_schema()
    onnx_op.register_schema()
    assert onnx.defs.has(DEFORMABLE_ATTENTION.name, DEFORMABLE_ATTENTION.domain)


def check(
    session: ort.InferenceSession, value: Tensor, locations: Tensor, weights: Tensor, shapes: Sequence[tuple[int, int]]
) -> None:
    inputs = {"value": value.numpy(), "locations": locations.numpy(), "weights": weights.numpy()}
    (found,) = session.run(None, inputs)
    expected = reference.deformable_attention(value.double(), locations.double(), weights.double(), shapes).numpy()
    assert found.dtype == np.float32 and found.shape == expected.shape
    allowed = SINGLE * weights.abs().sum((3, 4)).repeat_interleave(value.shape[3], 2).numpy()
    assert (np.abs(found - expected) <= allowed).all()


def model_of(shapes: Sequence[tuple[int, int]], heads: int, channels: int, points: int) -> onnx.ModelProto:
    onnx_op.register_schema()
    levels = len(shapes)
    axes: dict[str, list[int | str]] = {
        "value": ["B", sum(height * width for height, width in shapes), heads, channels],
        "locations": ["B", "Q", heads, levels, points, 2],
        "weights": ["B", "Q", heads, levels, points],
        "output": ["B", "Q", heads * channels],
    }
    infos = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in axes.items()}
    output = infos.pop("output")
    node = helper.make_node(
        DEFORMABLE_ATTENTION.name,
        list(infos),
        ["output"],
        domain=DEFORMABLE_ATTENTION.domain,
        level_shapes=[extent for shape in shapes for extent in shape],
        **onnx_op.PLUGIN_ATTRIBUTES,
    )
    return helper.make_model(
        helper.make_graph([node], "g", list(infos.values()), [output]),
        functions=[onnx_op.function_body(levels, OPSET)],
        opset_imports=[
            helper.make_opsetid("", OPSET),
            helper.make_opsetid(DEFORMABLE_ATTENTION.domain, DEFORMABLE_ATTENTION.version),
        ],
        ir_version=IR_VERSION,
    )


def session_of(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
