"""Image files as people have them: every kind that should be read. What is refused: test_image_io_errors.py."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.images.reading import load_image

ORIENTATION = 0x0112  # EXIF tag
LOSSLESS: dict[str, dict[str, Any]] = {"webp": {"lossless": True}}
BEST_JPEG: dict[str, Any] = {"quality": 100}
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored.swapaxes(0, 1), 2),
    8: np.rot90,
}
"""What a viewer has to do, by the EXIF standard."""


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (9, 1), (3, 200), (211, 97), (400, 600)])
@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "tiff"])
def test_colour_images_of_any_size_are_read_unchanged(tmp_path: Path, size_hw: tuple[int, int], suffix: str) -> None:
    pixels = noise(*size_hw, 3)
    Image.fromarray(pixels).save(tmp_path / f"image.{suffix}", **LOSSLESS.get(suffix, {}))
    found = load_image(tmp_path / f"image.{suffix}")
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    assert np.array_equal(found, pixels)


def test_a_photograph(coffee: Path) -> None:
    found = load_image(coffee)
    assert found.shape == (400, 600, 3) and 50 < found.mean() < 150
    assert np.array_equal(found, load_image(str(coffee)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    stored = noise(4, 7, 3)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(stored).save(tmp_path / f"image.{suffix}", exif=exif, **LOSSLESS.get(suffix, {}))
    assert np.array_equal(load_image(tmp_path / f"image.{suffix}"), UPRIGHT[orientation](stored))


def test_exif_orientation_of_a_photograph(tmp_path: Path, coffee: Path) -> None:
    with Image.open(coffee) as image:
        image.save(tmp_path / "rotated.jpg", exif=rotated_exif())
    assert load_image(tmp_path / "rotated.jpg").shape == (600, 400, 3)


@pytest.mark.parametrize("suffix", ["tiff", "png"])
@pytest.mark.parametrize("kind", ["grey", "alpha", "16 bit"])
def test_exif_orientation_of_other_kinds(tmp_path: Path, kind: str, suffix: str) -> None:
    """Pillow 13 scrambles turned, uncompressed TIFF files of one or four channels that it opens by name."""
    stored = {"grey": noise(3, 5), "alpha": noise(3, 5, 4), "16 bit": noise16(3, 5)}[kind]
    Image.fromarray(stored).save(tmp_path / f"rotated.{suffix}", exif=rotated_exif())
    eight_bit = (stored >> 8) if kind == "16 bit" else stored
    upright = UPRIGHT[6](eight_bit if kind == "alpha" else grey_rgb(eight_bit))
    assert np.array_equal(load_image(tmp_path / f"rotated.{suffix}"), upright[:, :, :3])


@pytest.mark.parametrize(
    "entry",
    [
        struct.pack("<HHI4s", 0x0100, 2, 4, b"640"),  # width as text
        struct.pack("<HHIf", 0x0100, 11, 1, 1.5),  # width as a fraction
        struct.pack("<HHII", 0x010F, 2, 400, 2**31 - 1),  # camera name beyond the end of the file
        struct.pack("<HHI4s", 0x0111, 0, 0, b""),  # of no type at all
    ],
    ids=["text", "fraction", "beyond", "typeless"],
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's remarks on such entries
def test_odd_metadata_does_not_keep_a_photograph_from_being_read(tmp_path: Path, entry: bytes) -> None:
    turned = struct.pack("<HHIHxx", ORIENTATION, 3, 1, 6)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entry + turned + bytes(4)
    Image.fromarray(noise(4, 7, 3)).save(tmp_path / "photo.jpg", exif=exif)
    assert load_image(tmp_path / "photo.jpg").shape == (7, 4, 3)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_a_meaningless_orientation_is_ignored(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = noise(4, 7, 3)
    Image.fromarray(stored).save(tmp_path / "image.png", exif=exif)
    assert np.array_equal(load_image(tmp_path / "image.png"), stored)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = noise(5, 6)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(load_image(tmp_path / "grey.png"), grey_rgb(grey))
    Image.fromarray(np.dstack([grey, noise(5, 6)])).save(tmp_path / "grey_alpha.png")
    assert np.array_equal(load_image(tmp_path / "grey_alpha.png"), grey_rgb(grey))


def test_black_and_white(tmp_path: Path) -> None:
    bits = noise(5, 6) > 127
    Image.fromarray(bits).save(tmp_path / "bits.png")
    assert np.array_equal(load_image(tmp_path / "bits.png"), grey_rgb(np.where(bits, 255, 0)))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey_keeps_its_upper_8_bits(tmp_path: Path, suffix: str) -> None:
    wide = noise16(20, 30)
    wide[0, :4] = 0, 255, 256, 65535
    Image.fromarray(wide).save(tmp_path / f"wide.{suffix}")
    assert np.array_equal(load_image(tmp_path / f"wide.{suffix}"), grey_rgb(wide >> 8))


def test_32_bit_integers_are_taken_as_16_bit_and_clipped() -> None:
    values = np.array([[-5, 0, 300], [65535, 70000, 2**31 - 1]], np.int32)
    assert load_image(Image.fromarray(values))[:, :, 0].tolist() == [[0, 0, 1], [255, 255, 255]]


def test_transparency_is_dropped_and_hidden_colours_show(tmp_path: Path) -> None:
    pixels = noise(5, 6, 4)
    pixels[:, :3, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "alpha.png")
    assert np.array_equal(load_image(tmp_path / "alpha.png"), pixels[:, :, :3])


@pytest.mark.parametrize("transparency", [None, 1, b"\x00\x80\xff"])
def test_palettes_give_their_colours(tmp_path: Path, transparency: int | bytes | None) -> None:
    colours = np.array([[10, 20, 30], [200, 100, 0], [255, 255, 255]], np.uint8)
    index = noise(5, 6) % 3
    image = Image.new("P", (6, 5))
    image.putdata(index.flatten().tolist())
    image.putpalette(colours.flatten().tolist())
    options: dict[str, Any] = {} if transparency is None else {"transparency": transparency}
    image.save(tmp_path / "palette.png", **options)
    with Image.open(tmp_path / "palette.png") as written:
        assert written.mode == "P"
    assert np.array_equal(load_image(tmp_path / "palette.png"), colours[index])


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_one_colour_declared_transparent_changes_nothing(tmp_path: Path, mode: str) -> None:
    pixels = noise(4, 4, 3) if mode == "RGB" else noise(4, 4)
    transparent = tuple(pixels[0, 0].tolist()) if mode == "RGB" else int(pixels[0, 0])
    Image.fromarray(pixels).save(tmp_path / "image.png", transparency=transparent)
    expected = pixels if mode == "RGB" else grey_rgb(pixels)
    assert np.array_equal(load_image(tmp_path / "image.png"), expected)


@pytest.mark.parametrize("suffix", ["tiff", "jpg"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    """Ink 0 is white, all ink black, cyan alone takes the red away."""
    inks = np.zeros((16, 48, 4), np.uint8)
    inks[:, 16:32, 0] = 255
    inks[:, 32:, 3] = 255
    image = Image.fromarray(inks, mode="CMYK")
    image.save(tmp_path / f"print.{suffix}", **{"jpg": BEST_JPEG}.get(suffix, {}))
    found = load_image(tmp_path / f"print.{suffix}").astype(int)
    for column, colour in ((8, (255, 255, 255)), (24, (0, 255, 255)), (40, (0, 0, 0))):
        assert np.abs(found[8, column] - colour).max() <= JPEG_ROUNDING


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "green", "blue")]
    for suffix in ("gif", "webp", "png"):
        path = tmp_path / f"film.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], **LOSSLESS.get(suffix, {}))
        assert np.array_equal(load_image(path), np.asarray(frames[0]))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "LA", "PA"])
def test_pillow_images_of_any_mode(mode: str) -> None:
    assert load_image(Image.new(mode, (7, 5))).shape == (5, 7, 3)


def test_a_pillow_image_is_left_as_it_is(coffee: Path) -> None:
    with Image.open(coffee) as image:
        found = load_image(image)
        assert image.size == (600, 400)  # still open
    assert np.array_equal(found, load_image(coffee))


def test_arrays() -> None:
    pixels, grey = noise(5, 6, 3), noise(5, 6)
    assert np.array_equal(load_image(pixels), pixels)
    assert np.array_equal(load_image(grey), grey_rgb(grey))
    assert np.array_equal(load_image(np.dstack([pixels, grey])), pixels)


def test_arrays_that_are_views_become_contiguous() -> None:
    pixels = noise(6, 5, 3)
    for view in (pixels[::-1], pixels[:, ::2], pixels.swapaxes(0, 1), pixels[:, :, ::-1]):
        found = load_image(view)
        assert found.flags.c_contiguous and np.array_equal(found, view)


JPEG_ROUNDING = 3
"""Of 255; flat blocks at quality 100."""


def rotated_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return exif


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def noise16(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65536, shape, np.uint16)


def grey_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(np.asarray(grey, np.uint8)[:, :, None], 3, axis=2)
