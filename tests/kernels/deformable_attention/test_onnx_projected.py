"""The fused node in ONNX Runtime: by its body and by the native kernel, against the reference."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy
from onnx import TensorProto, helper
from torch import Tensor

from deformable_attention_support import BODY, PROJECTED, Call, flat, random_call, session_of
from hyperseg_export.onnx.lint import IMPORTABLE
from hyperseg_export.onnx.writer import IR_VERSION, OPSET
from hyperseg_kernels.catalog import PLUGIN_ATTRIBUTES, PROJECTED_ATTENTION
from hyperseg_kernels.deformable_attention import onnx_projected, reference

SHAPES = [(4, 5), (1, 1), (9, 11)]
FORMS = pytest.mark.parametrize("native", [False, True], ids=["body", "native"])


@FORMS
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize(("images", "levels"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("value_type", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_points_and_boxes_shared_or_not(
    cpu_op_library: Path, native: bool, size: int, images: int, levels: int, value_type: int
) -> None:
    """Offsets of several pixels around references anywhere in the image, logits of a sharp softmax."""
    value, offsets, logits, shapes = random_call(2, 70, 3, 20, 4, SHAPES)
    references = torch.rand(images, 70, levels, size, generator=torch.Generator().manual_seed(1))
    session = session_of(model_of(shapes, 3, 20, 4, size, value_type), [cpu_op_library] if native else [])
    inputs = (value, references, 4 * offsets - 2, 6 * logits)
    if value_type == TensorProto.FLOAT:
        check(session, inputs, shapes, BODY)
    else:
        value, references, offsets, logits = inputs
        check(session, (value.half(), references, offsets.half(), logits.half()), shapes, PROJECTED["float16"])


@FORMS
@settings(deadline=None, max_examples=40)
@given(st.data())
def test_strange_offsets_and_odd_shapes(
    cpu_op_library: Path, native: bool, calls: SearchStrategy[Call], data: DataObject
) -> None:
    """NaN, infinite and huge offsets contribute nothing."""
    value, offsets, logits, shapes = data.draw(calls)
    references = torch.rand(1, offsets.shape[1], 1, 2, generator=torch.Generator().manual_seed(len(shapes)))
    model = model_of(shapes, value.shape[2], value.shape[3], logits.shape[4], 2)
    session = session_of(model, [cpu_op_library] if native else [])
    check(session, (value, references, offsets, logits), shapes, BODY)


def test_native_attention_takes_16_bit_values(cpu_op_library: Path) -> None:
    """The plain operator, whose body sums in float32 as well."""
    import deformable_attention_support as plain

    for channels in (7, 16, 40, 72):
        value, locations, weights, shapes = random_call(2, 70, 2, channels, 4, SHAPES)
        model = plain.model_of(shapes, 2, channels, 4, value_type=TensorProto.FLOAT16)
        found = plain.run(session_of(model, [cpu_op_library]), value.half(), locations, weights)
        expected = reference.deformable_attention(value.half().double(), locations.double(), weights.double(), shapes)
        scale = weights.sum((3, 4)).repeat_interleave(channels, 2)
        assert found.dtype == np.float16
        assert ((torch.from_numpy(found) - expected).abs() / scale).max() <= plain.ROUNDED["float16"]


@pytest.mark.parametrize(
    "change",
    [
        {"references": torch.rand(3, 5, 1, 2)},
        {"references": torch.rand(1, 4, 1, 2)},
        {"references": torch.rand(1, 5, 2, 2)},
        {"references": torch.rand(1, 5, 1, 3)},
        {"offsets": torch.rand(2, 5, 2, 3, 3, 2)},
        {"logits": torch.rand(2, 5, 2, 2, 4)},
    ],
)
def test_inputs_that_do_not_fit_are_refused(cpu_op_library: Path, change: dict[str, Tensor]) -> None:
    model = model_of(SHAPES, 2, 8, 4, 2)
    for dim in (dim for info in model.graph.input for dim in info.type.tensor_type.shape.dim):
        dim.Clear()  # any shape passes the model's own check
    session = session_of(model, [cpu_op_library])
    value, offsets, logits, _ = random_call(2, 5, 2, 8, 4, SHAPES)
    inputs = {"value": value, "references": torch.rand(1, 5, 1, 2), "offsets": offsets, "logits": logits} | change
    with pytest.raises(Exception, match="do not fit together"):
        session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("value_type", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_checker_and_shape_inference_accept_the_model(size: int, value_type: int) -> None:
    model = model_of(SHAPES, 2, 8, 4, size, value_type)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    assert inferred.graph.output[0].type.tensor_type.elem_type == value_type


@pytest.mark.parametrize("size", [2, 4])
def test_body_holds_only_operators_that_engines_import_and_no_grid_sample(size: int) -> None:
    """And calls no other body, for the reason given in `onnx_projected`."""
    body = onnx_projected.function_body(size, 3, OPSET)
    assert {node.domain for node in body.node} == {""}
    assert {node.op_type for node in body.node} <= IMPORTABLE - {"GridSample"}


def test_body_and_schema_agree_on_names_and_order() -> None:
    onnx_projected.register_schema()
    schema = onnx.defs.get_schema(PROJECTED_ATTENTION.name, PROJECTED_ATTENTION.version, PROJECTED_ATTENTION.domain)
    body = onnx_projected.function_body(2, 3, OPSET)
    assert [parameter.name for parameter in schema.inputs] == list(body.input)
    assert [parameter.name for parameter in schema.outputs] == list(body.output)


def check(session: object, inputs: Sequence[Tensor], shapes: list[tuple[int, int]], tolerance: float) -> None:
    """Weights add up to 1, so errors are counted per largest value."""
    names = ("value", "references", "offsets", "logits")
    (found,) = session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})  # type: ignore[attr-defined]
    expected = reference.projected_attention(*(tensor.double() for tensor in inputs), shapes)
    assert found.shape == expected.shape and np.isfinite(found).all()
    assert np.abs(found - expected.numpy()).max() <= tolerance * float(inputs[0].abs().max())


def model_of(
    shapes: Sequence[tuple[int, int]],
    heads: int,
    channels: int,
    points: int,
    reference_size: int,
    value_type: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """One fused node with its body; batch and queries are free."""
    onnx_projected.register_schema()
    levels, rows = len(shapes), sum(height * width for height, width in shapes)
    infos = [
        helper.make_tensor_value_info("value", value_type, ["B", rows, heads, channels]),
        helper.make_tensor_value_info("references", TensorProto.FLOAT, ["R", "Q", "R_levels", reference_size]),
        helper.make_tensor_value_info("offsets", value_type, ["B", "Q", heads, levels, points, 2]),
        helper.make_tensor_value_info("logits", value_type, ["B", "Q", heads, levels, points]),
    ]
    output = helper.make_tensor_value_info("output", value_type, ["B", "Q", heads * channels])
    node = helper.make_node(
        PROJECTED_ATTENTION.name,
        [info.name for info in infos],
        ["output"],
        domain=PROJECTED_ATTENTION.domain,
        level_shapes=flat(shapes),
        **PLUGIN_ATTRIBUTES,
    )
    return helper.make_model(
        helper.make_graph([node], "g", infos, [output]),
        functions=[onnx_projected.function_body(reference_size, levels, OPSET, value_type)],
        opset_imports=[
            helper.make_opsetid("", OPSET),
            helper.make_opsetid(PROJECTED_ATTENTION.domain, PROJECTED_ATTENTION.version),
        ],
        ir_version=IR_VERSION,
    )
