"""Pictures that mark a region, in the forms in which people and programs save them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.errors import ImageError
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.images.region_pictures import load_marked

ROWS, COLUMNS = np.mgrid[:60, :80]
DISC = (ROWS - 30) ** 2 + (COLUMNS - 40) ** 2 <= 400
FEW = 4
"""Pixels of 1,257 that a lossy file may move over its edge."""
LOSSLESS: dict[str, dict[str, Any]] = {"webp": {"lossless": True}}


def grey(value: int, dtype: type[np.generic] = np.uint8) -> Image.Image:
    return Image.fromarray(np.where(DISC, value, 0).astype(dtype))


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tif"])
def test_a_lossy_file_marks_no_faint_pixels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mask.{suffix}"
    options: dict[str, Any] = {"tif": {"compression": "jpeg"}}.get(suffix, {"quality": 60})
    grey(255).save(path, **options)
    assert (load_image(path).max(2) > 0).sum() > DISC.sum() + 10 * FEW
    assert (load_marked(path) ^ DISC).sum() <= FEW


def test_a_drawing_on_a_transparent_ground_is_what_shows(tmp_path: Path) -> None:
    for ground, pen in (((255, 255, 255), (255, 0, 0)), ((0, 0, 0), (0, 0, 0)), ((9, 9, 9), (0, 0, 255))):
        drawn = np.where(DISC[:, :, None], (*pen, 255), (*ground, 0)).astype(np.uint8)
        for suffix in ("png", "webp", "tif"):
            Image.fromarray(drawn).save(tmp_path / f"lines.{suffix}", **LOSSLESS.get(suffix, {}))
            assert np.array_equal(load_marked(tmp_path / f"lines.{suffix}"), DISC)
    Image.fromarray(drawn).quantize().save(tmp_path / "palette.png")
    assert np.array_equal(load_marked(tmp_path / "palette.png"), DISC)


def test_a_transparent_sheet_marks_nothing(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 6), (255, 255, 255, 0)).save(tmp_path / "sheet.png")
    assert not load_marked(tmp_path / "sheet.png").any()


@pytest.mark.parametrize("alpha", [255, 128])
def test_alpha_that_is_the_same_everywhere_hides_nothing(tmp_path: Path, alpha: int) -> None:
    mask = grey(255).convert("RGBA")
    mask.putalpha(alpha)
    mask.save(tmp_path / "mask.png")
    assert np.array_equal(load_marked(tmp_path / "mask.png"), DISC)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("number", [1, 3, 255, 256, 65535])
def test_small_numbers_of_16_bits_mark(tmp_path: Path, suffix: str, number: int) -> None:
    """As `video --classes` writes the numbers of objects."""
    grey(number, np.uint16).save(tmp_path / f"numbers.{suffix}")
    assert np.array_equal(load_marked(tmp_path / f"numbers.{suffix}"), DISC)


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "gif", "tif"])
@pytest.mark.parametrize("number", [1, 127, 255])
def test_small_numbers_of_8_bits_mark(tmp_path: Path, suffix: str, number: int) -> None:
    grey(number).save(tmp_path / f"numbers.{suffix}", **LOSSLESS.get(suffix, {}))
    assert np.array_equal(load_marked(tmp_path / f"numbers.{suffix}"), DISC)


def test_colours_and_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(np.where(DISC[:, :, None], (0, 0, 9), 0).astype(np.uint8)).save(tmp_path / "colour.png")
    Image.fromarray(DISC).save(tmp_path / "bits.png")
    for name in ("colour.png", "bits.png"):
        assert np.array_equal(load_marked(tmp_path / name), DISC)


def test_a_turned_picture_is_put_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    grey(3, np.uint16).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(load_marked(tmp_path / "turned.png"), np.rot90(DISC, -1))


def test_what_is_no_picture_is_refused_as_any_image(tmp_path: Path) -> None:
    Image.fromarray(np.where(DISC, 0.5, 0).astype(np.float32)).save(tmp_path / "shares.tif")
    with pytest.raises(ImageError, match="floating-point numbers"):
        load_marked(tmp_path / "shares.tif")
    with pytest.raises(ImageError, match="no such file"):
        load_marked(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="at most 100 are read"):
        load_marked(tmp_path / "shares.tif", 100)
