"""Files that were sent before are decoded once, for whoever sent them."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from hyperseg_runtime.session.image_cache import image_key
from hyperseg_serving.service.decoded import ENTRY_BYTES, Decoded, DecodedImages

PIXELS_BYTES = 300 + ENTRY_BYTES


def counted(decoded: list[bytes], data: bytes) -> Callable[[], np.ndarray]:
    def decode() -> np.ndarray:
        decoded.append(data)
        return np.full((10, 10, 3), data[0], np.uint8)

    return decode


def ask(images: DecodedImages, decoded: list[bytes], data: bytes, owner: str = "") -> Decoded:
    return images.open(data, owner, counted(decoded, data))


def test_the_same_file_is_decoded_once_for_each_owner() -> None:
    images, decoded = DecodedImages(), list[bytes]()
    first = ask(images, decoded, b"a", "one")
    assert ask(images, decoded, b"a", "one") is first
    assert decoded == [b"a"]
    ask(images, decoded, b"a", "another")
    ask(images, decoded, b"b", "one")
    assert decoded == [b"a", b"a", b"b"]


def test_an_owner_and_a_file_are_no_other_owner_and_file() -> None:
    images, decoded = DecodedImages(), list[bytes]()
    ask(images, decoded, b"bc", "a")
    ask(images, decoded, b"c", "ab")
    assert len(decoded) == 2


def test_what_is_shared_cannot_be_changed() -> None:
    pixels, _ = ask(DecodedImages(), [], b"a")
    with pytest.raises(ValueError, match="read-only"):
        pixels[0] = 1


def test_the_key_is_the_one_that_a_pipeline_makes() -> None:
    images = DecodedImages()
    for _ in range(2):
        pixels, key = ask(images, [], b"a", "one")
        assert key == image_key(pixels, "one") != image_key(pixels, "another")


def test_the_least_recently_used_go_first() -> None:
    images, decoded = DecodedImages(2 * PIXELS_BYTES), list[bytes]()
    for data in (b"a", b"b", b"a", b"c", b"a", b"b"):
        ask(images, decoded, data)
        assert images.size_bytes <= 2 * PIXELS_BYTES
    assert decoded == [b"a", b"b", b"c", b"b"]


def test_one_that_is_too_large_takes_no_place() -> None:
    images, decoded = DecodedImages(PIXELS_BYTES), list[bytes]()
    ask(images, decoded, b"a")
    images.open(b"large", "", lambda: np.zeros((20, 20, 3), np.uint8))
    ask(images, decoded, b"a")
    assert decoded == [b"a"] and images.size_bytes == PIXELS_BYTES


def test_images_of_one_pixel_are_not_free() -> None:
    images, decoded = DecodedImages(10 * ENTRY_BYTES), list[bytes]()
    files = [bytes([65 + number]) for number in range(50)]
    for data in (*files, *files[:-10:-1], files[-10]):
        images.open(data, "", lambda data=data: decoded.append(data) or np.zeros((1, 1, 3), np.uint8))
        assert images.size_bytes <= 10 * ENTRY_BYTES
    assert decoded == [*files, files[-10]]  # nine are kept, the tenth is decoded again


def test_what_cannot_be_decoded_is_not_remembered() -> None:
    images, decoded = DecodedImages(), list[bytes]()

    def fail() -> np.ndarray:
        raise ValueError("no image")

    with pytest.raises(ValueError, match="no image"):
        images.open(b"a", "", fail)
    ask(images, decoded, b"a")
    assert decoded == [b"a"]


def test_several_threads_get_the_same_pixels() -> None:
    images, found = DecodedImages(4 * PIXELS_BYTES), dict[int, bool]()

    def work(number: int) -> None:
        found[number] = all(
            int(ask(images, [], bytes([value])).pixels[0, 0, 0]) == value for _ in range(50) for value in range(8)
        )

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(4), True) and images.size_bytes <= 4 * PIXELS_BYTES
