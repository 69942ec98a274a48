"""The torch op is the reference under a name that an exporter keeps whole."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim

from hyperseg_kernels.deformable_attention import reference, torch_op

Call = tuple[Tensor, Tensor, Tensor, list[tuple[int, int]]]


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


def test_is_a_proper_torch_op() -> None:
    value, locations, weights = torch.rand(2, 20, 3, 4), torch.rand(2, 5, 3, 2, 4, 2), torch.rand(2, 5, 3, 2, 4)
    outcome = torch.library.opcheck(
        torch_op.deformable_attention,
        (value, locations, weights, [2, 4, 3, 4]),
        test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"),
    )
    assert set(outcome.values()) == {"SUCCESS"}


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


def flat(shapes: list[tuple[int, int]]) -> list[int]:
    return [extent for shape in shapes for extent in shape]
