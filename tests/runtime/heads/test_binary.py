"""Pixel for pixel the masks of the original program."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from hyperseg_runtime.heads.binary import THRESHOLD, binary_mask
from hyperseg_runtime.images.letterbox import LetterboxGeometry

GOLDEN = Path(__file__).parents[2] / "golden" / "unilseg"
KINDS = ["landscape", "portrait", "square", "large", "small", "exact"]
WARPED = 1e-6
"""Of probabilities: sums of 16 float32 products, in another order."""


@pytest.fixture(scope="module")
def probabilities() -> np.ndarray:
    """What the graphs end in: logits four times as large, corners on corners, through a sigmoid."""
    with np.load(GOLDEN / "prepost_480.npz") as golden:
        logits = torch.from_numpy(golden["post_logits"])[None, None]
        found: np.ndarray = interpolate(logits, (480, 480), mode="bilinear", align_corners=True).sigmoid()[0, 0].numpy()
        assert np.abs(found[::6, ::6] - golden["post_prob_sub6"]).max() <= WARPED
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_pixel_differs_from_the_original(kind: str, probabilities: np.ndarray) -> None:
    with np.load(GOLDEN / "prepost_480.npz") as golden:
        found = binary_mask(probabilities, geometry_of(golden, kind))
        expected = unpacked(golden, kind, found.mask.shape)
        assert found.mask.dtype == np.bool_ and found.probabilities.dtype == np.float32
        assert np.array_equal(found.mask, expected)
        assert [found.mask.sum(), found.mask.size] == golden[f"{kind}_post_on"].tolist()
        if f"{kind}_post_warped" in golden:
            assert np.abs(found.probabilities - golden[f"{kind}_post_warped"]).max() <= WARPED
        else:
            assert np.abs(found.probabilities[::4, ::4] - golden[f"{kind}_post_warped_sub4"]).max() <= WARPED


def test_opencv_5_differs_in_a_few_pixels(probabilities: np.ndarray) -> None:
    with np.load(GOLDEN / "prepost_480.npz") as golden, np.load(GOLDEN / "prepost_480_opencv5.npz") as other:
        masks = {kind: binary_mask(probabilities, geometry_of(golden, kind)).mask for kind in KINDS}
        differing = [int((mask != unpacked(other, kind, mask.shape)).sum()) for kind, mask in masks.items()]
    assert differing == [2, 1, 2, 11, 0, 0]


@pytest.mark.parametrize(("level", "inside"), [(0.34, False), (THRESHOLD, False), (0.36, True)])
def test_a_pixel_on_the_threshold_is_outside(level: float, inside: bool) -> None:
    found = binary_mask(np.full((64, 64), level, np.float32), LetterboxGeometry((64, 64), 64))
    assert (found.mask == inside).all()


def test_an_empty_mask_is_an_answer() -> None:
    found = binary_mask(np.zeros((64, 64), np.float32), LetterboxGeometry((30, 50), 64))
    assert found.mask.shape == (30, 50) and not found.mask.any()


def test_the_threshold_can_be_chosen(probabilities: np.ndarray) -> None:
    geometry = LetterboxGeometry((120, 177), 480)
    counts = [binary_mask(probabilities, geometry, threshold).mask.sum() for threshold in (0.2, 0.35, 0.8)]
    assert counts[0] > counts[1] > counts[2] > 0


def geometry_of(golden: np.lib.npyio.NpzFile, kind: str) -> LetterboxGeometry:
    height, width = golden[f"{kind}_hw"].tolist()
    return LetterboxGeometry((height, width), 480)


def unpacked(golden: np.lib.npyio.NpzFile, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    bits = np.unpackbits(golden[f"{kind}_post_mask_packed"], count=shape[0] * shape[1])
    return bits.reshape(shape).astype(bool)
