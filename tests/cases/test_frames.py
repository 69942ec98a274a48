"""Frames: nothing is left out without a word, partial input has an exit code of its own, own results are no frames."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.errors import ImageError
from hyperseg_runtime.images.frames import open_frames
from support import PROGRAM, RunCli

PARTIAL = 11


def record(folder: Path) -> Any:
    return json.loads((folder / "video.json").read_bytes())


def test_midcorrupt_avi(case: Path, run_cli: RunCli, tiny_bundle: Path) -> None:
    """The frames after the damaged one are read and keep their numbers."""
    out = case / "out"
    result = run_cli("video", tiny_bundle, case / "video" / "midcorrupt.avi", "the cup", "--out", out)
    assert result.code == PARTIAL and "11 frames are done" in result.err and "000005 (damaged)" in result.err
    stored = record(out)
    assert [frame["frame"] for frame in stored["frames"]] == [f"{n:06}" for n in range(1, 13) if n != 5]
    assert stored["left_out"] == [{"frame": "000005", "reason": "damaged", "lost": True}] and stored["complete"]
    assert len(list(out.glob("*.mask.png"))) == 11


def test_a_avi(case: Path, run_cli: RunCli, tiny_bundle: Path) -> None:
    result = run_cli("video", tiny_bundle, case / "video" / "a.avi", "the cup", "--out", case / "out")
    assert result.code == 0 and len(record(case / "out")["frames"]) == 12, result.err


def test_frames_mixed(case: Path, run_cli: RunCli, tiny_bundle: Path) -> None:
    """What `run` reads `video` reads; what it cannot read is named."""
    result = run_cli("video", tiny_bundle, case / "frames_mixed", "the cup", "--out", case / "out")
    assert result.code == PARTIAL and "5.HEIC (it is HEIC" in result.err
    read = ["1.jpg", "2.jpg", "3.avif", "4.gif", "6.jp2", "7.jfif", "10.jpg", "20.jpg"]
    assert [frame["frame"] for frame in record(case / "out")["frames"]] == read


def test_frames_mac(case: Path, run_cli: RunCli, tiny_bundle: Path) -> None:
    result = run_cli("video", tiny_bundle, case / "frames_mac", "the cup", "--out", case / "out", "--json")
    assert result.code == 0 and "._1.jpg (hidden)" in result.err
    content = json.loads(result.out)
    assert [frame["frame"] for frame in content["frames"]] == ["1.jpg", "2.jpg", "10.jpg", "20.jpg"]
    assert content["left_out"] == [{"frame": "._1.jpg", "reason": "hidden", "lost": False}]


def test_video_twice_in_a_frames_folder(
    case: Path, run_cli: RunCli, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Own masks and overlays never become frames, and replace themselves."""
    monkeypatch.chdir(case / "frames_mac")
    for _ in range(2):
        result = run_cli("video", tiny_bundle, ".", "cup", "--overlay")
        assert result.code == 0, result.err
        assert len(record(Path())["frames"]) == 4
    assert "9 files (results of this program)" in result.err


@pytest.mark.parametrize("verb", ["run", "chat"])
def test_own_results_are_no_images_either(case: Path, run_cli: RunCli, tiny_bundle: Path, verb: str) -> None:
    photo = case / "labelme" / "photo.jpg"
    assert run_cli("run", tiny_bundle, photo, "the cup", "--out", case).code == 0
    result = run_cli(verb, tiny_bundle, case / "photo.jpg.overlay.png", "the cup")
    assert result.code == 2 and "is a result that this program wrote" in result.err


def test_a_damaged_frame_of_a_folder(case: Path, run_cli: RunCli, tiny_bundle: Path) -> None:
    frames = case / "frames_mac"
    frames.joinpath("2.jpg").write_bytes(frames.joinpath("1.jpg").read_bytes()[:2000])
    result = run_cli("video", tiny_bundle, frames, "the cup", "--out", case / "out")
    assert result.code == PARTIAL and "2.jpg (damaged image" in result.err
    assert [frame["frame"] for frame in record(case / "out")["frames"]] == ["1.jpg", "10.jpg", "20.jpg"]


def test_a_dangling_link_among_the_frames(case: Path, run_cli: RunCli, tiny_bundle: Path) -> None:
    (case / "frames_mac" / "3.jpg").symlink_to("absent.jpg")
    result = run_cli("video", tiny_bundle, case / "frames_mac", "the cup", "--out", case / "out")
    assert result.code == PARTIAL and "3.jpg (a link to absent.jpg, which does not exist)" in result.err


SHADES = (10, 60, 120, 180)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "avif", "tiff", "default.png"])
def test_an_animated_image_is_a_video(tmp_path: Path, suffix: str) -> None:
    """All its frames, or the pages of a TIFF: OpenCV 5.0 reads one page, and nothing of WebP and AVIF."""
    images = [Image.new("RGB", (24, 16), (shade,) * 3) for shade in SHADES]
    path = tmp_path / f"a.{suffix}"
    more = {"default_image": True} if suffix == "default.png" else {}  # shown by those who know no animation: no frame
    images[0].save(path, save_all=True, append_images=images[1:], **more)
    frames = open_frames(path)
    shades = [int(frame.pixels_hwc_u8[8, 8, 0]) for frame in frames]
    assert np.allclose(shades, SHADES[len(more) :], atol=3) and frames.count == len(shades) and not frames.left_out


def test_a_damaged_page_is_told(tmp_path: Path) -> None:
    images = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (16, 24, 3), np.uint8)) for n in range(3)]
    images[0].save(tmp_path / "a.png", save_all=True, append_images=images[1:])
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: -len(data) // 2])
    frames = open_frames(tmp_path / "a.png")
    assert len(list(frames)) == 1 and [(row.name, row.lost) for row in frames.left_out] == [
        ("000002", True),
        ("000003", True),
    ]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "avif", "tiff"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_an_animation_that_was_cut(tmp_path: Path, suffix: str, share: float) -> None:
    """What can be read is read; that there was more is told, also where nothing counts the frames."""
    images = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (20, 30, 3), np.uint8)) for n in range(6)]
    path = tmp_path / f"a.{suffix}"
    images[0].save(path, save_all=True, append_images=images[1:])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    try:
        frames = open_frames(path)
        read = len(list(frames))
    except ImageError:
        return
    assert 0 < read < 6 and any(row.lost for row in frames.left_out)


def test_a_gif_that_was_cut_between_two_frames(tmp_path: Path) -> None:
    images = [Image.new("RGB", (8, 6), (shade,) * 3) for shade in SHADES]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:])
    whole = (tmp_path / "a.gif").read_bytes()
    for data, lost in ((whole[:-1], ["000005.."]), (whole + bytes(40), [])):
        (tmp_path / "a.gif").write_bytes(data)
        frames = open_frames(tmp_path / "a.gif")
        assert len(list(frames)) == 4 and [row.name for row in frames.left_out] == lost


def test_a_frame_name_that_is_not_utf_8(case: Path, tiny_bundle: Path) -> None:
    """In a terminal that knows ASCII alone: the name is escaped, the results are written."""
    frames, name = case / "frames_mac", os.fsdecode(b"9\xff.jpg")
    shutil.copy(frames / "1.jpg", frames / name)
    for options in ((), ("--json",)):
        done = subprocess.run(
            [*PROGRAM, "video", tiny_bundle, frames, "čaj", "--out", case / "out", *options],
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert (case / "out" / f"{name}.mask.png").is_file()
        assert name in [frame["frame"] for frame in record(case / "out")["frames"]]
    assert name in [frame["frame"] for frame in json.loads(done.stdout.decode("ascii"))["frames"]]


def test_a_video_whose_names_are_not_utf_8(case: Path, tiny_bundle: Path) -> None:
    """Neither its own nor that of the folder for the film; OpenCV ends the process where it is given such a name."""
    video = Path(shutil.copy(case / "video" / "a.avi", case / os.fsdecode(b"9\xff.avi")))
    out = case / os.fsdecode(b"out\xff")
    done = subprocess.run(
        [*PROGRAM, "video", tiny_bundle, video, "the cup", "--out", out, "--overlay-video"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (out / "overlay.mp4").stat().st_size > 1000
    assert record(out)["complete"] and record(out)["frames"]


def test_an_image_is_not_taken_for_a_video(case: Path, run_cli: RunCli, tiny_bundle: Path) -> None:
    result = run_cli("video", tiny_bundle, case / "frames_mac" / "1.jpg", "the cup", "--out", case / "out")
    assert result.code == 2 and "is an image; use the verb run" in result.err and not (case / "out").exists()


def test_a_full_disk_in_the_middle_of_a_video(
    case: Path, run_cli: RunCli, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done is in video.json."""
    import errno

    from hyperseg_runtime.files import results

    real, written = results.write_atomically, []

    def write(path: Path, data: bytes) -> None:
        written.append(path)
        if path.name == "10.jpg.mask.png":
            raise results.OutputError("no room") from OSError(errno.ENOSPC, "full")
        real(path, data)

    monkeypatch.setattr(results, "write_atomically", write)
    result = run_cli("video", tiny_bundle, case / "frames_mac", "the cup", "--out", case / "out")
    assert result.code == 2
    stored = record(case / "out")
    assert [frame["frame"] for frame in stored["frames"]] == ["1.jpg", "2.jpg"] and stored["complete"] is False
