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


GREY = np.arange(20).reshape(4, 5) * 12


@pytest.mark.parametrize(
    ("bits", "kind", "white_is_zero", "data", "expected"),
    [
        (16, 1, False, (GREY << 8).astype("<u2"), GREY),
        (16, 1, True, (GREY << 8).astype("<u2"), 255 - GREY),
        (8, 1, True, GREY.astype(np.uint8), 255 - GREY),
        (12, 1, False, np.full(32, 0xAA, np.uint8), np.full((4, 5), 0xAA)),
        (8, 2, False, GREY.astype(np.int8), "signed integers"),
        (16, 2, False, GREY.astype("<i2"), "signed integers"),
        (32, 1, False, GREY.astype("<u4"), "32-bit or signed integers"),
        (32, 3, False, np.full((4, 5), np.nan, "<f4"), "floating-point numbers"),
        (64, 3, False, GREY.astype("<f8"), "64-bit floating-point numbers"),
        (16, 3, False, GREY.astype("<f2"), "16-bit floating-point numbers"),
    ],
    ids=lambda value: str(value) if isinstance(value, int | str) else None,
)
def test_samples_of_a_tiff(
    tmp_path: Path, bits: int, kind: int, white_is_zero: bool, data: np.ndarray, expected: np.ndarray | str
) -> None:
    """Bits, type and which value is white stand in tags 258, 339 and 262 (TIFF 6.0, sections 8 and 19)."""
    tags = {256: 5, 257: 4, 258: bits, 259: 1, 262: 0 if white_is_zero else 1, 273: 8, 277: 1, 278: 4, 279: data.nbytes}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted({**tags, 339: kind}.items()))
    directory = struct.pack("<H", len(tags) + 1) + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 8 + data.nbytes) + data.tobytes() + directory)
    if isinstance(expected, str):
        with pytest.raises(ImageError, match=expected):
            load_image(tmp_path / "a.tif")
    else:
        assert np.array_equal(load_image(tmp_path / "a.tif")[:, :, 0], expected)


@pytest.mark.parametrize(
    ("head", "maximum", "dtype"), [("P5", 1023, ">u2"), ("P5", 15, "u1"), ("P5", 65535, ">u2"), ("P6", 4095, ">u2")]
)
def test_a_pnm_is_scaled_by_the_maximum_it_states(tmp_path: Path, head: str, maximum: int, dtype: str) -> None:
    count = 3 if head == "P6" else 1
    samples = np.repeat(np.array([0, maximum // 2, maximum], dtype), count)
    (tmp_path / "a.pnm").write_bytes(f"{head}\n3 1\n{maximum}\n".encode() + samples.tobytes())
    assert np.allclose(load_image(tmp_path / "a.pnm")[0, :, 0], [0, 127, 255], atol=9)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_16_bit_png_keeps_its_upper_bits(tmp_path: Path, channels: int) -> None:
    """Grey and colours, with alpha (dropped) and without."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + np.repeat(row << 8, channels).astype(">u2").tobytes() for row in GREY)
    header = struct.pack(">IIBBBBB", 5, 4, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    assert np.array_equal(load_image(tmp_path / "a.png"), np.repeat(GREY[:, :, None], 3, axis=2))


def test_16_bit_numbers_of_a_format_that_means_signed_ones(tmp_path: Path) -> None:
    """FITS standard 4.0, section 4.4.1: BITPIX 16 is a signed 16-bit integer; Pillow calls it I;16."""
    cards = ("SIMPLE  = T", "BITPIX  = 16", "NAXIS   = 2", "NAXIS1  = 5", "NAXIS2  = 4", "END")
    header = "".join(f"{card:80}" for card in cards).ljust(2880)
    (tmp_path / "a.fits").write_bytes(header.encode() + bytes(2880))
    with pytest.raises(ImageError, match=r"signed integers \(Pillow's mode I;16\)"):
        load_image(tmp_path / "a.fits")


@pytest.mark.parametrize("source", [None, 5, b"a.png", [[1]], io.BytesIO()], ids=lambda source: type(source).__name__)
def test_what_is_no_image_source(source: object) -> None:
    with pytest.raises(ImageError, match=f"or a uint8 array, got {type(source).__name__}"):
        load_image(source)  # type: ignore[arg-type]


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
        (b"II*\0" + bytes(60), "TIFF, damaged or of a pixel type"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "PNG, which is damaged .*; fetch it again"),
        (b"\0\0\1\xb3" + bytes(60), "use the verb video"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n%%EndComments\n", "PostScript, which is not read here"),
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
