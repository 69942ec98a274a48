"""The native kernel inside ONNX Runtime against the reference."""

import logging
import os
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from deformable_attention_support import NATIVE, Call, check, model_of, random_call, run, session_of
from hyperseg_export.onnx.writer import OPSET
from hyperseg_kernels import cpu_ops, native

SHAPES = [(4, 5), (1, 1), (9, 11)]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_equals_the_reference(cpu_op_library: Path, calls: SearchStrategy[Call], data: DataObject) -> None:
    value, locations, weights, shapes = data.draw(calls)
    session = session_of(model_of(shapes, value.shape[2], value.shape[3], weights.shape[4]), [cpu_op_library])
    check(run(session, value, locations, weights), value, locations, weights, shapes, NATIVE)


@pytest.mark.parametrize("channels", [1, 7, 16, 24, 32, 43, 64, 72])
def test_any_head_dimension(cpu_op_library: Path, channels: int) -> None:
    value, locations, weights, shapes = random_call(2, 70, 3, channels, 4, SHAPES)
    session = session_of(model_of(shapes, 3, channels, 4), [cpu_op_library])
    check(run(session, value, locations, weights), value, locations, weights, shapes, NATIVE)


def test_one_session_takes_any_batch_and_number_of_queries(cpu_op_library: Path) -> None:
    session = session_of(model_of(SHAPES, heads=2, channels=8, points=4), [cpu_op_library])
    for batch, queries in ((1, 1), (2, 64), (5, 65), (1, 200), (1, 0)):
        value, locations, weights, shapes = random_call(batch, queries, 2, 8, 4, SHAPES)
        check(run(session, value, locations, weights), value, locations, weights, shapes, NATIVE)


def test_large_maps_keep_their_precision(cpu_op_library: Path) -> None:
    """A float32 pixel coordinate near 4000 is exact to 1e-4 px only; shares are not computed from it."""
    value, locations, weights, shapes = random_call(1, 200, 1, 8, 4, [(2, 4000), (3000, 1)])
    session = session_of(model_of(shapes, 1, 8, 4), [cpu_op_library])
    check(run(session, value, locations, weights), value, locations, weights, shapes, NATIVE)


def test_pixels_outside_are_never_read(cpu_op_library: Path) -> None:
    """NaN in the map reaches only samples that touch it."""
    value = torch.full((1, 12, 1, 8), torch.nan)
    value[:, 5] = 1.0  # row 1, column 1 of 3 x 4
    locations = torch.tensor([[1.5 / 4, 1.5 / 3], [-1.0, 0.5], [0.5, 2.0]]).reshape(1, 3, 1, 1, 1, 2)
    session = session_of(model_of([(3, 4)], 1, 8, 1), [cpu_op_library])
    found = run(session, value, locations, torch.ones(1, 3, 1, 1, 1))
    assert np.isnan(found[0, 0]).all()  # an exact centre has neighbours of weight zero, and 0 * NaN is NaN
    assert (found[0, 1:] == 0).all()


def test_threads_do_not_change_the_result(cpu_op_library: Path) -> None:
    value, locations, weights, shapes = random_call(3, 200, 2, 32, 4, SHAPES)
    model = model_of(shapes, 2, 32, 4)
    one, two = (run(session_of(model, [cpu_op_library], threads), value, locations, weights) for threads in (1, 2))
    assert np.array_equal(one, two)


def test_the_native_kernel_goes_before_the_body(cpu_op_library: Path) -> None:
    """ONNX Runtime inlines a function only where it knows no kernel: this body would give zeros."""
    body = onnx.parser.parse_function(f"""
        <domain: "hyperseg", opset_import: ["" : {OPSET}]>
        MultiScaleDeformableAttention <level_shapes> (value, sampling_locations, attention_weights) => (output) {{
          shapes = Constant <value_ints: ints = @level_shapes> ()
          total = ReduceSum <keepdims = 0> (sampling_locations)
          nothing = Sub (total, total)
          B = Shape <start = 0, end = 1> (value)
          Q = Shape <start = 1, end = 2> (sampling_locations)
          C = Constant <value_ints = [16]> ()
          shape = Concat <axis = 0> (B, Q, C)
          output = Expand (nothing, shape)
        }}""")
    value, locations, weights, shapes = random_call(1, 5, 2, 8, 4, SHAPES)
    model = model_of(shapes, 2, 8, 4, body)
    assert not run(session_of(model), value, locations, weights).any()
    check(
        run(session_of(model, [cpu_op_library]), value, locations, weights), value, locations, weights, shapes, NATIVE
    )


def test_inputs_that_do_not_fit_are_refused(cpu_op_library: Path) -> None:
    model = model_of(SHAPES, 2, 8, 4)
    for dim in (dim for info in model.graph.input for dim in info.type.tensor_type.shape.dim):
        dim.Clear()  # any shape passes the model's own check
    session = session_of(model, [cpu_op_library])
    value, locations, weights, _ = random_call(1, 5, 2, 8, 4, SHAPES)
    with pytest.raises(Exception, match="do not cover the rows of value"):
        run(session, value[:, 1:].contiguous(), locations, weights)
    with pytest.raises(Exception, match="do not fit together"):
        run(session, value, locations, weights[..., :3].contiguous())
    with pytest.raises(Exception, match="do not fit together"):
        run(session, value, locations[:, 1:].contiguous(), weights)


@pytest.mark.parametrize(("level_shapes", "message"), [([2], "pairs of height, width"), ([0, 4], "no size of a map")])
def test_level_shapes_that_mean_nothing_are_refused(
    cpu_op_library: Path, level_shapes: list[int], message: str
) -> None:
    model = model_of([(2, 2)], 1, 8, 1)
    next(attribute for attribute in model.graph.node[0].attribute if attribute.name == "level_shapes").ints[:] = (
        level_shapes
    )
    with pytest.raises(Exception, match=message):
        session_of(model, [cpu_op_library])


def test_without_a_compiler_the_body_serves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with caplog.at_level(logging.WARNING):
        assert cpu_ops.libraries_if_possible() == []
    (record,) = caplog.records
    assert "their ONNX bodies run instead: no C++ compiler" in record.getMessage() and "\n" not in record.getMessage()
    with pytest.raises(native.NativeBuildError, match="apt install g"):
        cpu_ops.library()
