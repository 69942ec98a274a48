"""The cache operators: what is written and read, what is left alone, and that torch may trace them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hyperseg_export.modules.cache_op import cache_slots, cache_update


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.integers(1, 3), st.data())
def test_every_row_is_written_at_its_own_slot(
    batch: int, heads: int, capacity: int, width: int, data: st.DataObject
) -> None:
    tokens = data.draw(st.integers(1, capacity))
    starts = data.draw(st.lists(st.integers(0, capacity - tokens), min_size=batch, max_size=batch))
    cache, update = torch.rand(batch, heads, capacity, width), torch.rand(batch, heads, tokens, width)
    untouched = cache.clone()

    found = cache_update(cache, update, torch.tensor(starts))

    assert torch.equal(cache, untouched)
    for row, start in enumerate(starts):
        for slot in range(capacity):
            written = start <= slot < start + tokens
            expected = update[row, :, slot - start] if written else cache[row, :, slot]
            assert torch.equal(found[row, :, slot], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("starts", [(0, 0), (1, 3)])
def test_torch_accepts_the_operator(dtype: torch.dtype, starts: tuple[int, int]) -> None:
    """Schema, fake shapes and tracing agree with the real result."""
    arguments = (torch.rand(2, 3, 5, 4).to(dtype), torch.rand(2, 3, 2, 4).to(dtype), torch.tensor(starts))
    checks = torch.library.opcheck(torch.ops.hyperseg.cache_update.default, arguments)
    assert set(checks.values()) == {"SUCCESS"}


def test_the_fake_result_has_the_shape_of_the_cache() -> None:
    meta = [torch.empty(shape, device="meta") for shape in ((2, 3, 5, 4), (2, 3, 1, 4))]
    fake: Tensor = cache_update(*meta, torch.empty(2, dtype=torch.int64, device="meta"))
    assert fake.is_meta
    assert fake.shape == (2, 3, 5, 4)


@pytest.mark.parametrize("tokens", [1, 2])
def test_a_write_past_the_capacity_is_an_error(tokens: int) -> None:
    cache, update = torch.zeros(1, 1, 4, 1), torch.ones(1, 1, tokens, 1)
    with pytest.raises((RuntimeError, ValueError)):
        cache_update(cache, update, torch.tensor([5 - tokens]))


@pytest.mark.parametrize("slots", [1, 3, 5])
def test_slots_in_use_are_read_and_the_others_left_alone(slots: int) -> None:
    cache, mask = torch.rand(2, 3, 5, 4), torch.ones(2, 1, 2, slots, dtype=torch.bool)
    assert torch.equal(cache_slots(cache, mask), cache[:, :, :slots])
    checks = torch.library.opcheck(torch.ops.hyperseg.cache_slots.default, (cache.requires_grad_(), mask))
    assert set(checks.values()) == {"SUCCESS"}


def test_slots_that_are_not_read_get_no_gradient() -> None:
    cache = torch.rand(1, 2, 5, 3, requires_grad=True)
    (cache_slots(cache, torch.ones(1, 1, 1, 2, dtype=torch.bool)) * 3).sum().backward()
    assert cache.grad is not None
    assert torch.equal(cache.grad[:, :, :2], torch.full((1, 2, 2, 3), 3.0)) and not cache.grad[:, :, 2:].any()
