"""Images as the original resizes and normalises them, at the published sizes and at the small ones."""

from pathlib import Path

import numpy as np
import pytest

from hyperseg_runtime.families.hipie.canvas import canvas, resized_hw

GOLDEN = Path(__file__).parents[3] / "golden" / "hipie"
EVERY = 16
"""Only so many pixels of the published sizes are stored."""


@pytest.mark.parametrize("name", ["landscape", "portrait", "square", "wide"])
def test_the_published_sizes(name: str) -> None:
    with np.load(GOLDEN / "preprocess.npz") as stored:
        image = np.ascontiguousarray(stored[f"{name}_bgr_uint8"][:, :, ::-1])
        pixels, geometry = canvas(image, size_multiple=1)
        assert list(geometry.valid_hw) == stored[f"{name}_size"].tolist()
        corner = stored[f"{name}_normalised_corner"]
        assert np.abs(pixels[:, : corner.shape[1], : corner.shape[2]] - corner).max() <= 1e-6
        expected = stored[f"{name}_resized_sub16"]
        mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
        found = pixels[:, ::EVERY, ::EVERY] * std[:, None, None] + mean[:, None, None]
        assert np.abs(found - expected).max() < 1e-3


@pytest.mark.parametrize("case", ["detection", "detection_portrait"])
def test_the_small_sizes(case: str) -> None:
    with np.load(GOLDEN / f"{case}.npz") as stored:
        image = np.ascontiguousarray(stored["in_image_bgr_uint8"][:, :, ::-1])
        _, geometry = canvas(image, 1, short_px=72, long_px=112)
        assert geometry.valid_hw == stored["image"].shape[1:]
        assert geometry.original_hw == tuple(stored["in_height_width"].tolist())
        height, width = stored["pred_masks"].shape[-2:]
        assert geometry.padded_hw == (4 * height, 4 * width)


def test_what_is_filled_up_is_zero() -> None:
    pixels, geometry = canvas(np.full((30, 41, 3), 255, np.uint8), 32, short_px=60, long_px=120)
    assert pixels.shape == (3, 64, 96)
    assert geometry.valid_hw == (60, 82)
    assert not pixels[:, 60:].any() and not pixels[:, :, 82:].any()
    assert pixels[:, :60, :82].all()


@pytest.mark.parametrize(
    ("image", "expected"), [((3000, 1), (2048, 1)), ((1, 1), (1024, 1024)), ((480, 640), (1024, 1365))]
)
def test_sizes(image: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resized_hw(*image) == expected
