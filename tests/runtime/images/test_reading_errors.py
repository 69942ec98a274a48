"""What cannot be an image is refused with ImageError and a message that names the file and the reason."""

import contextlib
import io
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from fuzzing import fuzzed
from hyperseg_runtime.errors import ImageError
from hyperseg_runtime.images.reading import MAX_PIXELS, load_image

FUZZED = ["png", "jpg", "gif", "bmp", "tiff", "webp", "avif", "jp2", "ppm", "tga", "ico", "apng", "pages"]
"""Formats by their endings; the last two hold several images."""


def test_no_such_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "no such file")
    refused(tmp_path, "a folder, not a file")


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "a\0b.png", "\udcff.png"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="no such file"):
        load_image(f"{tmp_path}/{name}")


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_files_that_only_have_the_name_of_an_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "text.png").write_bytes(content)
    refused(tmp_path / "text.png", "not an image; readable are PNG, JPEG")


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_files_that_only_begin_as_an_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "text.png").write_bytes(content)
    refused(tmp_path / "text.png", "")


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_half_an_image(tmp_path: Path, suffix: str, share: float) -> None:
    data = encoded(suffix)
    (tmp_path / f"half.{suffix}").write_bytes(data[: int(len(data) * share)])
    refused(tmp_path / f"half.{suffix}", "")


def test_a_damaged_image_says_so(tmp_path: Path) -> None:
    (tmp_path / "half.jpg").write_bytes(encoded("jpg")[:-200])
    refused(tmp_path / "half.jpg", "damaged image: image file is truncated")


def test_half_an_image_opened_by_the_caller() -> None:
    """Pillow decodes late, so the damage shows inside `load_image`."""
    with Image.open(io.BytesIO(encoded("png")[:2000])) as image, pytest.raises(ImageError, match="damaged image"):
        load_image(image)


def test_a_pillow_image_of_a_mode_that_cannot_be_converted() -> None:
    """Premultiplied grey: Pillow makes such images, but converts them to nothing except LA."""
    with contextlib.suppress(ImageError):
        assert load_image(Image.new("LA", (7, 5)).convert("La")).shape == (5, 7, 3)


@fuzzed(6, 100)
@given(st.sampled_from(FUZZED), st.data())
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's remarks on damaged metadata
@pytest.mark.filterwarnings("ignore::hyperseg_runtime.errors.Notice")  # bytes may say that there is another frame
def test_any_damage_gives_an_image_or_an_image_error(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    content = bytearray(encoded(suffix))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 400)) | st.integers(0, len(content))) - 1] = data.draw(
            st.sampled_from((0, 1, 127, 128, 255)) | st.integers(0, 255)
        )
    path = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
    path.write_bytes(content)
    try:
        found = load_image(path, max_pixels=100_000)
    except ImageError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert found.dtype == np.uint8 and found.shape[2] == 3


@pytest.mark.parametrize("side_px", [10_001, 12_000, 100_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_from_its_header(
    tmp_path: Path, side_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    (tmp_path / "bomb.png").write_bytes(png_header(side_px, side_px))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(tmp_path / "bomb.png", f"at most {MAX_PIXELS} ")


def test_an_image_of_too_many_pixels_says_how_many(tmp_path: Path) -> None:
    Image.new("L", (40, 30)).save(tmp_path / "big.png")
    assert load_image(tmp_path / "big.png", max_pixels=1200).shape == (30, 40, 3)
    for source, name in (
        (tmp_path / "big.png", tmp_path / "big.png"),
        (Image.new("L", (40, 30)), "image"),
        (np.zeros((30, 40), np.uint8), "image array"),
    ):
        message = f"{name}: 40 x 30 px is 1200 pixels, at most 1199 are read; scale it down"
        with pytest.raises(ImageError, match=re.escape(message)):
            load_image(source, max_pixels=1199)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0), (0, 0, 4)])
def test_arrays_without_pixels(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=rf"{shape[1]} x {shape[0]} px holds no pixel"):
        load_image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 5, 3), np.float32),
        np.zeros((4, 5, 3), np.int8),
        np.zeros((4, 5), bool),
        np.zeros((4, 5, 1), np.uint8),
        np.zeros((4, 5, 2), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((1, 4, 5, 3), np.uint8),
        np.zeros(5, np.uint8),
        np.zeros((), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_of_another_kind_are_told_what_they_are(array: np.ndarray) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(array)
    assert str(caught.value) == (
        f"expected a uint8 array (H, W), (H, W, 3) or (H, W, 4) with RGB order, got {array.dtype} {array.shape}"
    )


@pytest.mark.parametrize("step", ["load", "getexif"])
def test_memory_that_runs_out_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Nor is an image read sideways for want of it."""

    def full(image: Image.Image) -> None:
        raise MemoryError

    (tmp_path / "a.jpg").write_bytes(encoded("jpg"))
    monkeypatch.setattr(ImageFile.ImageFile, step, full)
    with pytest.raises(MemoryError):
        load_image(tmp_path / "a.jpg")


def refused(path: Path, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(path)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


def decoded(image: ImageFile.ImageFile) -> None:
    raise AssertionError("pixels were decoded")


def encoded(suffix: str) -> bytes:
    """A small noisy image as file bytes, with EXIF where the format has it."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "description"
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    options: dict[str, Any] = {"exif": exif} if suffix in ("png", "jpg", "tiff", "webp") else {}
    if suffix in ("apng", "pages"):
        options = {"save_all": True, "append_images": [Image.new("RGB", (64, 48))]}
    formats = {"jpg": "JPEG", "jp2": "JPEG2000", "apng": "PNG", "pages": "TIFF"}
    Image.fromarray(pixels).save(file, formats.get(suffix, suffix), **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to no data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
