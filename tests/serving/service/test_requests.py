"""What is refused, with which identifier, and that nothing large is decoded first."""

import base64
import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hyperseg_runtime.contracts.results import encode_png
from hyperseg_runtime.errors import ImageError
from hyperseg_serving.contract import Limits, Options, Probe, StreamStep
from hyperseg_serving.refusals import Reason, RefusalError
from hyperseg_serving.service.cost import cost_of
from hyperseg_serving.service.requests import (
    Request,
    bytes_tensor,
    image_size,
    marked_pixels,
    open_image,
    parse_mask_request,
    parse_request,
    tensors_of,
)

LIMITS = Limits(
    max_image_bytes=1000,
    max_texts=2,
    max_classes=3,
    max_words=5,
    max_options_bytes=200,
    max_regions=2,
    max_regions_bytes=90,
)
CASES = Path(__file__).parents[2] / "cases" / "files"
PICTURE = np.arange(10, dtype=np.uint8)

WHOLE = Request(
    b"file",
    ("a dog", "der große Baum"),
    ("cat",),
    "what?",
    Options(max_tokens=3, seed=1, things=(True,), remember=False),
)
FRAME = Request(b"file", ("a dog",), stream=StreamStep(id="cam", end=True))


@pytest.mark.parametrize("request_", [WHOLE, FRAME, Request(question="what?"), Request(probe=Probe.LIVE)])
def test_the_client_sends_what_the_model_reads(request_: Request) -> None:
    assert parse_request(tensors_of(request_), LIMITS) == request_


def test_an_image_may_come_as_base64() -> None:
    tensors = {"IMAGE_BASE64": bytes_tensor(base64.b64encode(b"file")), "TEXT": bytes_tensor(b"a")}
    assert parse_request(tensors, LIMITS).image == b"file"


FILE = b"\xff\xfe file??"


@pytest.mark.parametrize(
    "text",
    [
        b"data:image/png;base64," + base64.b64encode(FILE),
        base64.encodebytes(FILE * 20),
        base64.urlsafe_b64encode(FILE).rstrip(b"="),
        base64.b64encode(FILE) + b"\r\n",
    ],
)
def test_base64_as_clients_write_it(text: bytes) -> None:
    found = parse_request({"IMAGE_BASE64": bytes_tensor(text), "TEXT": bytes_tensor(b"a")}, LIMITS).image
    assert found in (FILE, FILE * 20)


def test_base64_full_of_spaces_takes_little_memory() -> None:
    """13 million of them fit a body; each piece between two would be an object."""
    tensors = {"IMAGE_BASE64": bytes_tensor(b"A " * 200_000), "TEXT": bytes_tensor(b"a")}
    tracemalloc.start()
    parse_request(tensors, Limits())
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2_000_000


def test_an_image_of_many_parts_is_refused_before_it_waits() -> None:
    """Whoever takes requests in reads the size of their images, and nobody else is served meanwhile."""
    data = b"\xff\xd8" + b"\xff\xe1\0\2" * 100_000
    with pytest.raises(ImageError, match="more parts"):
        cost_of(Request(data, ("a",)), Limits())


def test_bad_exif_png() -> None:
    image = (CASES / "images" / "bad_exif.png").read_bytes()
    assert image_size(image, Limits()) == (80, 120) and open_image(image, Limits()).shape == (80, 120, 3)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({}, Reason.REQUEST),
        ({"PROBE": bytes_tensor(b"live"), "QUESTION": bytes_tensor(b"a")}, Reason.REQUEST),
        ({"PROBE": bytes_tensor(b"dead")}, Reason.REQUEST),
        ({"QUESTION": bytes_tensor(b"a"), "OPTIONS": bytes_tensor(b'{"temperature": NaN}')}, Reason.OPTIONS),
        ({"IMAGE": PICTURE, "TEXT": bytes_tensor(b"a"), "STREAM": bytes_tensor(b"{}")}, Reason.OPTIONS),
        (
            {"IMAGE": PICTURE, "TEXT": bytes_tensor(b"a"), "STREAM": bytes_tensor(b'{"id": "mine", "start": true}')},
            Reason.OPTIONS,
        ),
        ({"IMAGE": PICTURE}, Reason.REQUEST),
        ({"TEXT": bytes_tensor(b"a")}, Reason.REQUEST),
        ({"IMAGE": PICTURE, "IMAGE_BASE64": bytes_tensor(b"AAAA"), "TEXT": bytes_tensor(b"a")}, Reason.REQUEST),
        ({"IMAGE": np.zeros(1001, np.uint8), "TEXT": bytes_tensor(b"a")}, Reason.IMAGE_TOO_LARGE),
        ({"IMAGE_BASE64": bytes_tensor(b"A" * 1400), "TEXT": bytes_tensor(b"a")}, Reason.IMAGE_TOO_LARGE),
        ({"IMAGE_BASE64": bytes_tensor(b"not base64!"), "TEXT": bytes_tensor(b"a")}, Reason.IMAGE),
        ({"IMAGE": PICTURE, "TEXT": bytes_tensor(b"a", b"b", b"c")}, Reason.TOO_MANY),
        ({"IMAGE": PICTURE, "TEXT": bytes_tensor()}, Reason.TOO_MANY),
        ({"IMAGE": PICTURE, "CLASSES": bytes_tensor(b"a", b"b", b"c", b"d")}, Reason.TOO_MANY),
        ({"IMAGE": PICTURE, "REGIONS": bytes_tensor(b'{"points": [[1, 2], [1, 2], [1, 2]]}')}, Reason.TOO_MANY),
        ({"IMAGE": PICTURE, "REGIONS": bytes_tensor(b"{}")}, Reason.TOO_MANY),
        ({"REGIONS": bytes_tensor(b'{"points": [[1, 2]]}')}, Reason.REQUEST),
        ({"IMAGE": PICTURE, "REGIONS": bytes_tensor(b'{"points": [[1, 2, 3]]}')}, Reason.OPTIONS),
        ({"IMAGE": PICTURE, "REGIONS": bytes_tensor(b'{"points": [[1, NaN]]}')}, Reason.OPTIONS),
        ({"IMAGE": PICTURE, "REGIONS": bytes_tensor(b'{"masks": ["' + b"A" * 90 + b'"]}')}, Reason.OPTIONS),
        (
            {
                "IMAGE": PICTURE,
                "TEXT": bytes_tensor(b"a"),
                "REGIONS": bytes_tensor(b'{"points": [[1, 2]]}'),
                "STREAM": bytes_tensor(b'{"start": true}'),
            },
            Reason.REQUEST,
        ),
        (
            {
                "IMAGE": PICTURE,
                "CLASSES": bytes_tensor(b"a"),
                "TEXT": bytes_tensor(b"a"),
                "STREAM": bytes_tensor(b'{"start": true}'),
            },
            Reason.REQUEST,
        ),
        (
            {
                "IMAGE": PICTURE,
                "CLASSES": bytes_tensor(b"a", b"b", b"c", b"d"),
                "STREAM": bytes_tensor(b'{"start": true}'),
            },
            Reason.TOO_MANY,
        ),
        ({"QUESTION": bytes_tensor(b"1 2 3 4 5 6")}, Reason.TEXT),
        ({"QUESTION": bytes_tensor(b"x" * 201)}, Reason.TEXT),
        ({"QUESTION": bytes_tensor(b"\xff\xfe")}, Reason.TEXT),
        ({"QUESTION": bytes_tensor(b"a"), "OPTIONS": bytes_tensor(b"{")}, Reason.OPTIONS),
        ({"QUESTION": bytes_tensor(b"a"), "OPTIONS": bytes_tensor(b'{"unknown": 1}')}, Reason.OPTIONS),
        ({"QUESTION": bytes_tensor(b"a"), "OPTIONS": bytes_tensor(b'{"seed": "1"}')}, Reason.OPTIONS),
        ({"QUESTION": bytes_tensor(b"a"), "OPTIONS": bytes_tensor(b'{"max_tokens": 0}')}, Reason.OPTIONS),
        ({"QUESTION": bytes_tensor(b"a"), "OPTIONS": bytes_tensor(b"null")}, Reason.OPTIONS),
        ({"QUESTION": bytes_tensor(b"a"), "OPTIONS": bytes_tensor(b'{"max_tokens": 100000}')}, Reason.OPTIONS),
        ({"QUESTION": bytes_tensor(b"a"), "OPTIONS": bytes_tensor(b" " * 201)}, Reason.OPTIONS),
        ({"QUESTION": bytes_tensor(b"a"), "STREAM": bytes_tensor(b'{"id": "cam"}')}, Reason.REQUEST),
    ],
)
def test_beyond_the_limits(tensors: dict[str, np.ndarray], reason: Reason) -> None:
    with pytest.raises(RefusalError) as refusal:
        parse_request(tensors, LIMITS)
    assert refusal.value.reason is reason


def test_only_a_later_frame_may_ask_nothing() -> None:
    """The object was pointed at in the first."""
    later = parse_request({"IMAGE": PICTURE, "STREAM": bytes_tensor(b'{"id": "mine"}')}, LIMITS)
    assert later.asks_nothing and later.stream == StreamStep(id="mine")
    with pytest.raises(RefusalError, match="nothing is asked"):
        parse_request({"IMAGE": PICTURE, "STREAM": bytes_tensor(b'{"start": true}')}, LIMITS)


def test_a_frame_may_ask_for_a_class_list() -> None:
    tensors = {"IMAGE": PICTURE, "CLASSES": bytes_tensor(b"a", b"b"), "STREAM": bytes_tensor(b'{"start": true}')}
    assert parse_request(tensors, LIMITS).classes == ("a", "b")


def test_pictures_of_regions_have_the_image_s_size(monkeypatch: pytest.MonkeyPatch) -> None:
    marked = np.zeros((4, 5), np.bool_)
    marked[1, 2] = True
    file = base64.b64encode(encode_png(marked)).decode()
    assert np.array_equal(marked_pixels(file, (4, 5), LIMITS), marked)
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(RefusalError, match="a picture of 5 x 4 px, expected the image's 4 x 5"):
        marked_pixels(file, (5, 4), LIMITS)


def test_pictures_of_regions_are_read_as_the_command_line_does() -> None:
    """Numbers in 16 bits, a drawing on a transparent ground, the faint pixels of JPEG."""
    marked = np.zeros((32, 40), np.bool_)
    marked[5:20, 9:30] = True
    drawn = np.where(marked[:, :, None], (255, 0, 0, 255), (255, 255, 255, 0)).astype(np.uint8)
    pictures = {
        "PNG": [np.where(marked, 3, 0).astype(np.uint16), drawn],
        "JPEG": [np.where(marked, 255, 0).astype(np.uint8)],
    }
    for form, arrays in pictures.items():
        for array in arrays:
            file = io.BytesIO()
            Image.fromarray(array).save(file, form)
            found = marked_pixels(base64.b64encode(file.getvalue()).decode(), (32, 40), LIMITS)
            assert np.array_equal(found, marked)


def test_a_mask_request_is_checked_like_a_whole_one() -> None:
    whole = {"SIZE": np.array([4, 5]), "CHECKED_TEXT": bytes_tensor(b"a dog"), "maps": np.zeros(1, np.float32)}
    parsed = parse_mask_request(whole, LIMITS)
    assert (parsed.size_hw, parsed.texts, set(parsed.outputs)) == ((4, 5), ("a dog",), {"maps"})
    for changes, reason in (
        ({"SIZE": np.array([1 << 31, 1 << 31])}, Reason.IMAGE_TOO_LARGE),
        ({"SIZE": np.array([-1, -5])}, Reason.REQUEST),
        ({"CHECKED_TEXT": bytes_tensor(b"\xff\xfe")}, Reason.TEXT),
        ({"CHECKED_TEXT": bytes_tensor(b"a", b"b", b"c")}, Reason.TOO_MANY),
    ):
        with pytest.raises(RefusalError) as refusal:
            parse_mask_request(whole | changes, LIMITS)
        assert refusal.value.reason is reason


NAMES = st.sampled_from(["TEXT", "QUESTION", "OPTIONS", "STREAM", "CLASSES", "REGIONS"])


@given(st.dictionaries(NAMES, st.binary(max_size=50)))
def test_any_bytes_are_read_or_refused(content: dict[str, bytes]) -> None:
    tensors = {name: bytes_tensor(data) for name, data in content.items()} | {"IMAGE": PICTURE}
    try:
        parse_request(tensors, LIMITS)
    except RefusalError as refusal:
        assert "<" not in str(refusal)


def test_a_large_image_is_not_decoded(bomb: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*arguments: object) -> None:
        raise AssertionError("pixels were read")

    monkeypatch.setattr(Image.Image, "load", decode)
    with pytest.raises(RefusalError) as refusal:
        open_image(bomb, Limits())
    assert refusal.value.reason is Reason.IMAGE_TOO_LARGE


@pytest.mark.parametrize(
    "broken", [lambda data: b"", lambda data: b"\x00" * 100, lambda data: data[1:], lambda data: b"GIF89a" + data]
)
def test_what_is_no_image(broken: Callable[[bytes], bytes], coffee_bytes: bytes) -> None:
    with pytest.raises(RefusalError) as refusal:
        open_image(broken(coffee_bytes), Limits())
    assert refusal.value.reason is Reason.IMAGE
    assert "0x" not in str(refusal.value)


def test_a_whole_image(coffee_bytes: bytes) -> None:
    assert open_image(coffee_bytes, Limits()).shape == (400, 600, 3)
