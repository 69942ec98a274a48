"""The torch op is the reference under a name that an exporter keeps whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim

from deformable_attention_support import BODY, Call, flat, random_call
from hyperseg_kernels.deformable_attention import reference, torch_op


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_equals_the_reference(calls: SearchStrategy[Call], data: DataObject) -> None:
    value, locations, weights, shapes = data.draw(calls)
    found = torch_op.deformable_attention(value, locations, weights, flat(shapes))
    assert torch.equal(found, reference.deformable_attention(value, locations, weights, shapes))


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_fake_has_the_shape_and_type_of_the_real_one(calls: SearchStrategy[Call], data: DataObject) -> None:
    value, locations, weights, shapes = data.draw(calls)
    real = torch_op.deformable_attention(value, locations, weights, flat(shapes))
    with FakeTensorMode() as mode:
        fakes = (mode.from_tensor(tensor) for tensor in (value, locations, weights))
        fake = torch_op.deformable_attention(*fakes, flat(shapes))
    assert (fake.shape, fake.dtype, fake.device) == (real.shape, real.dtype, real.device)


def test_are_proper_torch_ops() -> None:
    value, locations, weights = torch.rand(2, 20, 3, 4), torch.rand(2, 5, 3, 2, 4, 2), torch.rand(2, 5, 3, 2, 4)
    shapes = [2, 4, 3, 4]
    calls = {
        torch_op.deformable_attention: (value, locations, weights, shapes),
        torch_op.projected_deformable_attention: (value, torch.rand(1, 5, 1, 2), locations, weights, shapes),
    }
    for op, arguments in calls.items():
        utilities = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
        outcome = torch.library.opcheck(op, arguments, test_utils=utilities)
        assert set(outcome.values()) == {"SUCCESS"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_values_are_summed_in_float32(dtype: torch.dtype) -> None:
    value, locations, weights, shapes = random_call(2, 40, 3, 16, 4, [(4, 5), (30, 128)])
    value = value.to(dtype)
    found = torch_op.deformable_attention(value, locations, weights, flat(shapes))
    expected = reference.deformable_attention(value.float(), locations, weights, shapes).to(dtype)
    assert found.dtype == dtype and torch.equal(found, expected)


@pytest.mark.parametrize("size", [2, 4])
def test_projected_form_is_softmax_and_locations_around_references(size: int) -> None:
    shapes = [(4, 5), (30, 128)]
    value, offsets, logits, _ = random_call(2, 40, 3, 16, 4, shapes)
    references = torch.rand(2, 40, 2, size)
    found = torch_op.projected_deformable_attention(value, references, offsets, logits, flat(shapes))
    weights = logits.reshape(2, 40, 3, 8).softmax(-1).reshape(logits.shape)
    corners = references[:, :, None, :, None]  # (B, Q, 1, L, 1, 2 or 4)
    sizes = torch.tensor([[5.0, 4.0], [128.0, 30.0]])[:, None]
    around = offsets / sizes if size == 2 else offsets / 4 * corners[..., 2:] / 2
    expected = reference.deformable_attention(value, corners[..., :2] + around, weights, shapes)
    torch.testing.assert_close(found, expected, rtol=0, atol=BODY)


def test_there_is_no_gradient() -> None:
    value, locations, weights, shapes = random_call(1, 5, 1, 4, 2, [(3, 3)])
    found = torch_op.deformable_attention(value.requires_grad_(), locations, weights, flat(shapes))
    with pytest.raises(RuntimeError, match="register_autograd"):
        found.sum().backward()


def test_an_exporter_sees_one_node_and_dynamic_batch_and_queries() -> None:
    class Layer(torch.nn.Module):
        def forward(self, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
            made: Tensor = torch_op.deformable_attention(value, locations, weights, [2, 4, 3, 4])
            return made

    batch, queries = Dim("batch"), Dim("queries")
    program = torch.export.export(
        Layer(),
        (torch.rand(2, 20, 3, 4), torch.rand(2, 5, 3, 2, 4, 2), torch.rand(2, 5, 3, 2, 4)),
        dynamic_shapes=({0: batch}, {0: batch, 1: queries}, {0: batch, 1: queries}),
    )
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert called == [torch.ops.hyperseg.deformable_attention.default]
