"""Images: metadata never decides, pixel types are named, formats are named, orientation has one rule."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hyperseg_runtime.errors import ImageError, Notice
from hyperseg_runtime.images.reading import load_image
from support import RunCli

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)


def test_bad_exif_png(case: Path, run_cli: RunCli, tiny_bundle: Path) -> None:
    """Its EXIF is garbage, its pixels are sound: orientation unknown is none."""
    image = case / "images" / "bad_exif.png"
    assert load_image(image).shape == (80, 120, 3)
    result = run_cli("run", tiny_bundle, image, "the cup", "--out", case / "out")
    assert result.code == 0, result.err


@pytest.mark.parametrize(
    "chunk",
    [(b"iCCP", b"x\0\0no zlib"), (b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26))), (b"eXIf", b"MM"), (b"pHYs", b"1")],
    ids=lambda chunk: chunk[0].decode(),
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_bad_metadata_of_a_png(tmp_path: Path, chunk: tuple[bytes, bytes]) -> None:
    kind, content = chunk
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    data = file.getvalue()
    made = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    (tmp_path / "a.png").write_bytes(data[:33] + made + data[33:])
    assert np.array_equal(load_image(tmp_path / "a.png"), PIXELS)


@settings(deadline=None, max_examples=60)
@given(junk=st.binary(max_size=60), kind=st.sampled_from(["png", "jpeg", "webp", "tiff"]), where=st.sampled_from("ex"))
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_no_metadata_decides(tmp_path_factory: pytest.TempPathFactory, junk: bytes, kind: str, where: str) -> None:
    """Any bytes as EXIF or XMP: the pixels are those of the file without them."""
    folder = tmp_path_factory.getbasetemp()
    plain, marked = folder / f"plain.{kind}", folder / f"marked.{kind}"
    options = {"lossless": True} if kind == "webp" else {}
    Image.fromarray(PIXELS).save(plain, **options)
    if kind == "tiff":
        marked.write_bytes(with_tiff_tag(plain.read_bytes(), 34665 if where == "e" else 700, junk))
    elif kind == "jpeg":
        segment = (b"Exif\0\0" if where == "e" else b"http://ns.adobe.com/xap/1.0/\0") + junk
        data = plain.read_bytes()
        marked.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:])
    else:
        named = {"exif" if where == "e" else "xmp": junk}
        if kind == "png" and where == "x":
            named = {}
        Image.fromarray(PIXELS).save(marked, **options, **named)
    assert np.array_equal(load_image(marked), load_image(plain))


def with_tiff_tag(data: bytes, tag: int, junk: bytes) -> bytes:
    """A TIFF with one entry more, of four bytes: for tag 34665 a pointer to EXIF data."""
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    entries = [data[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(count)]
    entries.append(struct.pack("<HHI4s", tag, 4 if tag == 34665 else 1, 1, (junk + bytes(4))[:4]))
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
    table = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + table


def test_f32_01_tif(case: Path, run_cli: RunCli, tiny_bundle: Path) -> None:
    result = run_cli("run", tiny_bundle, case / "images" / "f32_01.tif", "the cup", "--out", case / "out")
    assert result.code == 2 and "floating-point numbers (Pillow's mode F)" in result.err
    assert not (case / "out").exists()


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_of_no_stated_range(dtype: type, tmp_path: Path) -> None:
    """In a file, and as an image that the caller made."""
    image = Image.fromarray(np.full((4, 5), 200, dtype))
    image.save(tmp_path / "wide.tif")
    for source in (image, tmp_path / "wide.tif"):
        with pytest.raises(ImageError, match=r"mode [FI]\), and nothing says which value is white; scale them"):
            load_image(source)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.int32, bool])
def test_arrays_of_no_stated_range(dtype: type) -> None:
    with pytest.raises(ImageError, match="expected a uint8 array"):
        load_image(np.zeros((4, 5, 3), dtype))


def test_a_signed_tiff_is_refused(tmp_path: Path) -> None:
    """Pillow calls it I, as it calls 16-bit PGM, whose range is stated."""
    Image.fromarray(np.full((4, 5), 300, np.uint16)).save(tmp_path / "a.pgm")
    assert load_image(tmp_path / "a.pgm")[0, 0, 0] == 1


def test_header_only_heic(case: Path, run_cli: RunCli, tiny_bundle: Path) -> None:
    result = run_cli("run", tiny_bundle, case / "images" / "header_only.heic", "the cup", "--out", case / "out")
    assert result.code == 2 and "HEIC, the format of Apple's cameras" in result.err and "heif-convert" in result.err


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"\0\0\0\x18ftypavif", "AVIF"),
        (b"\xff\x0a" + bytes(60), "JPEG XL"),
        (b"v/1\x01" + bytes(60), "OpenEXR"),
        (b"\0\0\0\x18ftypisom", "use the verb video"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg xmlns=", "SVG"),
        (b"II*\0" + bytes(60), "TIFF of a pixel type"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\0\x05\x16\x07" + bytes(60), "AppleDouble"),
        (b"no image at all", "not an image; readable are"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_formats_are_named_from_their_first_bytes(tmp_path: Path, head: bytes, said: str) -> None:
    (tmp_path / "a.jpg").write_bytes(head)
    with pytest.raises(ImageError, match=said):
        load_image(tmp_path / "a.jpg")


def test_xmp_orient6_jpg(case: Path) -> None:
    """XMP alone turns nothing, as in browsers and OpenCV; EXIF does."""
    assert load_image(case / "images" / "xmp_orient6.jpg").shape == (80, 120, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
def test_only_exif_turns(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PIXELS).save(path, exif=exif)
    assert load_image(path).shape == (14, 10, 3)
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    if suffix == "tiff":
        Image.fromarray(PIXELS).save(path, tiffinfo={700: xmp})
    elif suffix != "png":
        Image.fromarray(PIXELS).save(path, xmp=xmp)
    else:
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        Image.fromarray(PIXELS).save(path, pnginfo=info)
    assert load_image(path).shape == (10, 14, 3)
    with Image.open(path) as image:
        assert load_image(image).shape == (10, 14, 3)


def test_an_image_that_its_maker_turned_is_not_turned_again(tmp_path: Path) -> None:
    """Pillow's rotate keeps the EXIF data."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        turned = image.rotate(-90, expand=True)
    assert np.array_equal(load_image(turned), np.rot90(PIXELS, -1))


def test_an_animation_says_that_one_frame_is_used(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "green")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(Notice, match=r"a\.gif: only its first frame is used"):
        load_image(tmp_path / "a.gif")
