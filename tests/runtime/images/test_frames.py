"""Frames come in order, in RGB, from a folder or from a video file."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hyperseg_runtime.errors import ImageError
from hyperseg_runtime.images.frames import frame_count, read_frames


def test_images_of_a_folder_by_number(tmp_path: Path) -> None:
    for number in (10, 9, 100, 1):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    frames = list(read_frames(tmp_path))
    assert [frame.name for frame in frames] == ["frame1", "frame9", "frame10", "frame100"]
    assert [int(frame.pixels_hwc_u8[0, 0, 0]) for frame in frames] == [1, 9, 10, 100]
    assert frame_count(tmp_path) == 4


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
    frames = list(read_frames(path))
    assert frame_count(path) == len(frames) == 12
    assert [frame.name for frame in frames[:2]] == ["000001", "000002"]
    for number, frame in enumerate(frames):
        assert frame.pixels_hwc_u8.shape == (48, 64, 3)
        assert np.abs(frame.pixels_hwc_u8[20, 30].astype(int) - (255 - 20 * number, 20 * number, 0)).max() <= 4


def test_what_is_no_video(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk.mp4").write_bytes(bytes(1000))
    twice = tmp_path / "twice"
    twice.mkdir()
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (8, 6)).save(twice / name)
    for name, message in {
        "absent": "absent: no such file or folder",
        "empty": "empty: no image in it; frames are files ending in",
        "junk.mp4": "OpenCV cannot read it as a video",
        "twice": "a.jpg and a.png are one frame's name twice",
    }.items():
        with pytest.raises(ImageError, match=message):
            list(read_frames(tmp_path / name))
        with pytest.raises(ImageError, match=message):
            frame_count(tmp_path / name)
