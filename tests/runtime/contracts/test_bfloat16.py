"""Rounding to bfloat16 and back."""

import numpy as np
import pytest
import torch

from hyperseg_runtime.contracts.bfloat16 import from_bits, to_bits


def test_rounding_is_that_of_torch() -> None:
    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    values = np.concatenate([values, [0.0, -0.0, np.inf, -np.inf, 3.3895e38, 1e-40, 1.00390625, 1.01171875]]).astype(
        np.float32
    )
    expected = torch.from_numpy(values).to(torch.bfloat16)
    np.testing.assert_array_equal(from_bits(to_bits(values)), expected.float().numpy())
    np.testing.assert_array_equal(to_bits(values), expected.view(torch.uint16).numpy())


@pytest.mark.parametrize("bits", [0x7F800001, 0xFF800001, 0x7FFFFFFF])
def test_no_number_stays_no_number(bits: int) -> None:
    """Cutting off the lower half would make some of them infinite."""
    assert np.isnan(from_bits(to_bits(np.array([bits], np.uint32).view(np.float32)))).all()


def test_the_shape_stays() -> None:
    assert from_bits(to_bits(np.ones((2, 0, 3), np.float32))).shape == (2, 0, 3)
    assert from_bits(to_bits(np.float32(1.5))).shape == ()
