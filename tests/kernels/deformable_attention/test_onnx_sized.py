"""The node whose sizes are an input: by its body in ONNX Runtime, and as a torch op, against the reference."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

from deformable_attention_support import BODY, PROJECTED, random_call
from hyperseg_export.onnx.lint import IMPORTABLE
from hyperseg_export.onnx.writer import IR_VERSION, OPSET
from hyperseg_kernels.catalog import KERNELS, OPERATORS, SIZED_ATTENTION
from hyperseg_kernels.deformable_attention import onnx_sized, reference
from hyperseg_kernels.deformable_attention.torch_op import sized_deformable_attention

CALLS = [[(4, 5), (1, 1), (9, 11)], [(1, 2), (7, 3), (2, 2)]]
"""One file serves both."""


@pytest.mark.parametrize("value_type", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_one_file_serves_maps_of_any_size(value_type: int) -> None:
    model = model_of(3, value_type)
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for shapes in CALLS:
        rows = sum(height * width for height, width in shapes)
        value, offsets, logits, _ = random_call(2, rows, 3, 20, 4, shapes)
        references = torch.rand(2, rows, 3, 4, generator=torch.Generator().manual_seed(1))
        inputs = [value, references, 4 * offsets - 2, 6 * logits]
        if value_type == TensorProto.FLOAT16:
            inputs = [tensor if tensor is references else tensor.half() for tensor in inputs]
        expected = reference.projected_attention(*(tensor.double() for tensor in inputs), shapes)
        sizes = torch.tensor(shapes)
        names = ("value", "references", "offsets", "logits")
        arrays = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        (found,) = session.run(None, {**arrays, "level_sizes": sizes.numpy()})
        tolerance = BODY if value_type == TensorProto.FLOAT else PROJECTED["float16"]
        assert np.abs(found - expected.numpy()).max() <= tolerance * float(value.abs().max())
        made = sized_deformable_attention(*inputs, sizes)
        assert (made.double() - expected).abs().max() <= tolerance * float(value.abs().max())


def test_body_holds_only_operators_that_engines_import_and_no_grid_sample() -> None:
    body = onnx_sized.function_body(4, OPSET)
    assert {node.op_type for node in body.node} <= IMPORTABLE - {"GridSample"}


def test_it_is_no_kernel_yet() -> None:
    assert set(OPERATORS) - set(KERNELS) == {SIZED_ATTENTION}


def model_of(levels: int, value_type: int) -> onnx.ModelProto:
    """The node with its body; every size but the number of levels is free."""
    onnx_sized.register_schema()
    shapes = {
        "value": (value_type, ["b", "s", "h", "d"]),
        "references": (TensorProto.FLOAT, ["b", "q", levels, 4]),
        "offsets": (value_type, ["b", "q", "h", levels, "p", 2]),
        "logits": (value_type, ["b", "q", "h", levels, "p"]),
        "level_sizes": (TensorProto.INT64, [levels, 2]),
    }
    node = helper.make_node(SIZED_ATTENTION.name, list(shapes), ["output"], domain=SIZED_ATTENTION.domain)
    graph = helper.make_graph(
        [node],
        "sized",
        [helper.make_tensor_value_info(name, *described) for name, described in shapes.items()],
        [helper.make_tensor_value_info("output", value_type, ["b", "q", "c"])],
    )
    return helper.make_model(
        graph,
        ir_version=IR_VERSION,
        functions=[onnx_sized.function_body(levels, OPSET, value_type)],
        opset_imports=[
            helper.make_opsetid("", OPSET), helper.make_opsetid(SIZED_ATTENTION.domain, SIZED_ATTENTION.version),
        ],
    )  # fmt: skip
