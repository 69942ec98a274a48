"""Frames come in order, in RGB, from a folder or from a video file."""

import re
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hyperseg_runtime.errors import ImageError
from hyperseg_runtime.images.frames import open_frames, told


def test_images_of_a_folder_by_number(tmp_path: Path) -> None:
    for number in (10, 9, 100, 1):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    source = open_frames(tmp_path)
    frames = list(source)
    assert [frame.name for frame in frames] == ["frame1.png", "frame9.png", "frame10.png", "frame100.png"]
    assert [int(frame.pixels_hwc_u8[0, 0, 0]) for frame in frames] == [1, 9, 10, 100]
    assert source.count == 4 and source.left_out == [("notes.txt", "no image", False)]
    assert [name for _, name in source.names] == [frame.name for frame in frames]


@given(numbers=st.lists(st.integers(0, 10**6), min_size=1, max_size=8, unique=True))
def test_numbers_are_read_as_numbers(numbers: list[int]) -> None:
    from hyperseg_runtime.images.frames import _natural

    names = [Path(f"clip2_{number}.jpg") for number in numbers]
    assert sorted(names, key=_natural) == [Path(f"clip2_{number}.jpg") for number in sorted(numbers)]


def test_a_video_file_in_rgb(tmp_path: Path) -> None:
    """Motion JPEG blurs colours a little."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for shade in range(0, 240, 20):
        writer.write(np.full((48, 64, 3), (0, shade, 255 - shade), np.uint8))  # blue, green, red
    writer.release()
    source = open_frames(path)
    frames = list(source)
    assert source.count == len(frames) == 12 and source.left_out == []
    assert [frame.name for frame in frames[:2]] == ["000001", "000002"]
    for number, frame in enumerate(frames):
        assert frame.pixels_hwc_u8.shape == (48, 64, 3)
        assert np.abs(frame.pixels_hwc_u8[20, 30].astype(int) - (255 - 20 * number, 20 * number, 0)).max() <= 4


def test_what_is_no_video(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk.mp4").write_bytes(bytes(1000))
    for name, message in {
        "absent": "absent: no such file or folder",
        "empty": "empty: no image in it",
        "junk.mp4": "OpenCV cannot read it as a video",
    }.items():
        with pytest.raises(ImageError, match=message):
            list(open_frames(tmp_path / name))


def test_two_images_of_one_stem_are_two_frames(tmp_path: Path) -> None:
    for name in ("1.png", "1.jpg"):
        Image.new("RGB", (8, 6)).save(tmp_path / name)
    assert [frame.name for frame in open_frames(tmp_path)] == ["1.jpg", "1.png"]


def test_what_was_left_out_is_told_in_a_sentence(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"damaged")
    (tmp_path / "sub").mkdir()
    frames = open_frames(tmp_path)
    assert len(list(frames)) == 1
    assert re.match(r"could not be read: 2\.png \(not an image.*is no frame: sub \(a folder", told(frames.left_out))


def test_a_folder_in_which_no_image_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"damaged")
    with pytest.raises(ImageError, match=r"could not be read: 1\.png"):
        list(open_frames(tmp_path))


def test_one_image_is_no_video(tmp_path: Path) -> None:
    """OpenCV would read 1.png, 2.png, ... as its frames."""
    for number in (1, 2):
        Image.new("RGB", (8, 6)).save(tmp_path / f"{number}.png")
    with pytest.raises(ImageError, match=r"1\.png: is an image; use the verb run"):
        open_frames(tmp_path / "1.png")


def test_a_video_cut_short_says_what_its_header_promises(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    noise = np.random.default_rng(0)
    for _ in range(10):
        writer.write(noise.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    source = open_frames(path)
    count = len(list(source))
    assert 3 <= count <= 6 and source.count == 10
    (lost,) = source.left_out
    assert lost == (f"{count + 1:06}..000010", "its header promises 10 frames", True)


def test_a_first_frame_that_is_lost_is_told_to_those_who_need_it(tmp_path: Path) -> None:
    """Damaged, or a link to nowhere; what is no image is none."""
    (tmp_path / "0").write_bytes(b"no image")
    for number in (2, 3):
        Image.new("RGB", (8, 6)).save(tmp_path / f"{number}.png")
    assert len(list(open_frames(tmp_path).from_the_first())) == 2
    (tmp_path / "4.png").write_bytes(b"damaged")
    assert len(list(open_frames(tmp_path).from_the_first())) == 2
    (tmp_path / "1.png").write_bytes(b"damaged")
    with pytest.raises(
        ImageError, match=r"the first frame, 1\.png, which could not be read \(.*give regions of 2\.png"
    ):
        list(open_frames(tmp_path).from_the_first())
    assert len(list(open_frames(tmp_path))) == 2
    (tmp_path / "0.png").symlink_to("nowhere.png")
    with pytest.raises(ImageError, match=r"the first frame, 0\.png, which could not be read \(a link to nowhere"):
        list(open_frames(tmp_path).from_the_first())


def test_a_first_frame_of_a_video_file_that_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for shade in range(0, 240, 40):
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()
    assert len(list(open_frames(path).from_the_first())) == 6
    data = path.read_bytes()
    at = data.index(b"00dc", data.index(b"movi")) + 8
    (size,) = struct.unpack_from("<I", data, at - 4)
    path.write_bytes(data[:at] + bytes(size) + data[at + size :])
    with pytest.raises(ImageError, match=r"the first frame, 000001, which could not be read \(damaged"):
        list(open_frames(path).from_the_first())
    assert next(iter(open_frames(path))).name == "000002"


@pytest.mark.parametrize("place", ["PIL.Image.open", "hyperseg_runtime.images.frames.has_pages"])
def test_memory_that_runs_out_is_no_verdict_on_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise MemoryError

    Image.new("RGB", (8, 6)).save(tmp_path / "a.gif")
    monkeypatch.setattr(place, full)
    with pytest.raises(MemoryError):
        open_frames(tmp_path / "a.gif")
    if place == "PIL.Image.open":
        with pytest.raises(MemoryError):
            open_frames(tmp_path)
