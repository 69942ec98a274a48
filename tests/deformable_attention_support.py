"""What the tests of deformable attention share: the tolerances and ONNX models of one node."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import FunctionProto, TensorProto, helper
from torch import Tensor

from hyperseg_export.onnx.writer import IR_VERSION, OPSET
from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION, PLUGIN_ATTRIBUTES
from hyperseg_kernels.deformable_attention import onnx_op, reference

Call = tuple[Tensor, Tensor, Tensor, list[tuple[int, int]]]

# Largest error against the float64 reference, per unit of weight and of the largest value: a sum of samples cannot
# promise more, since terms may cancel.
BODY = 2e-5
"""Float32 coordinates up to 32 px are 4e-6 px apart, neighbouring pixels differ by up to 2."""
NATIVE = 1e-6
"""Shares are exact to float32 whatever the size of the map; what is left are sums of at most 256 products."""
ROUNDED = {"float32": NATIVE, "float16": 5e-4, "bfloat16": 4e-3}
"""Sums are float32; a 16-bit result is rounded once, by at most half a unit of its 11 or 8 bits."""
PROJECTED = {"float32": 2e-6, "float16": 5e-4, "bfloat16": 4e-3}
"""As `ROUNDED`; the exponentials and their sum add two roundings each."""


def check(
    found: np.ndarray,
    value: Tensor,
    locations: Tensor,
    weights: Tensor,
    shapes: list[tuple[int, int]],
    tolerance: float,
) -> None:
    """`found` (B, Q, H * D) in float32 is the reference's result within `tolerance` (see above)."""
    expected = reference.deformable_attention(value.double(), locations.double(), weights.double(), shapes).numpy()
    assert found.dtype == np.float32 and found.shape == expected.shape
    allowed = tolerance * weights.abs().sum((3, 4)).repeat_interleave(value.shape[3], 2).numpy()
    assert (np.abs(found - expected) <= allowed * float(value.abs().max())).all()


def model_of(
    shapes: Sequence[tuple[int, int]],
    heads: int,
    channels: int,
    points: int,
    body: FunctionProto | None = None,
    value_type: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """One node with its body; batch and queries are free."""
    onnx_op.register_schema()
    levels = len(shapes)
    axes: dict[str, list[int | str]] = {
        "value": ["B", sum(height * width for height, width in shapes), heads, channels],
        "locations": ["B", "Q", heads, levels, points, 2],
        "weights": ["B", "Q", heads, levels, points],
        "output": ["B", "Q", heads * channels],
    }
    types = {"value": value_type, "output": value_type}
    infos = {
        name: helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), shape)
        for name, shape in axes.items()
    }
    output = infos.pop("output")
    node = helper.make_node(
        DEFORMABLE_ATTENTION.name,
        list(infos),
        ["output"],
        domain=DEFORMABLE_ATTENTION.domain,
        level_shapes=flat(shapes),
        **PLUGIN_ATTRIBUTES,
    )
    return helper.make_model(
        helper.make_graph([node], "g", list(infos.values()), [output]),
        functions=[body or onnx_op.function_body(levels, OPSET, value_type)],
        opset_imports=[
            helper.make_opsetid("", OPSET),
            helper.make_opsetid(DEFORMABLE_ATTENTION.domain, DEFORMABLE_ATTENTION.version),
        ],
        ir_version=IR_VERSION,
    )


def session_of(model: onnx.ModelProto, libraries: Sequence[Path] = (), threads: int = 1) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    for library in libraries:
        options.register_custom_ops_library(str(library))
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, value: Tensor, locations: Tensor, weights: Tensor) -> np.ndarray:
    inputs = {"value": value.numpy(), "locations": locations.numpy(), "weights": weights.numpy()}
    (found,) = session.run(None, inputs)
    return np.asarray(found)


def random_call(
    batch: int, queries: int, heads: int, channels: int, points: int, shapes: list[tuple[int, int]], seed: int = 0
) -> Call:
    """Values in -1..1, locations up to half a map outside."""
    random = torch.Generator().manual_seed(seed)
    rows, levels = sum(height * width for height, width in shapes), len(shapes)
    value = 2 * torch.rand(batch, rows, heads, channels, generator=random) - 1
    locations = 2 * torch.rand(batch, queries, heads, levels, points, 2, generator=random) - 0.5
    return value, locations, torch.rand(batch, queries, heads, levels, points, generator=random), shapes


def flat(shapes: Sequence[tuple[int, int]]) -> list[int]:
    return [extent for shape in shapes for extent in shape]
