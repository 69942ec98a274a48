"""The `video` verb as a user calls it."""

import json
from functools import partialmethod
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import Instances, decode_rle
from hyperseg_runtime.families.hyperseg.video import HypersegVideo
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.reports.frame_pictures import track_map
from hyperseg_runtime.reports.objects import object_map
from hyperseg_runtime.reports.overlay import draw_best
from hyperseg_runtime.session.pipeline import Pipeline
from support import RunCli

FILM_ERROR = 8
"""Mean difference in levels that VP9 leaves at its default quality (3 to 4 measured); another frame differs by 30."""


def test_masks_for_every_frame(
    run_cli: RunCli, tiny_bundle: Path, pipeline: Pipeline, coffee: Path, tmp_path: Path
) -> None:
    photo, frames, out = load_image(coffee), tmp_path / "frames", tmp_path / "out"
    frames.mkdir()
    for number in (9, 10):
        Image.fromarray(photo[:, 10 * number : 10 * number + 300]).save(frames / f"{number}.png")
    texts = ("the cup", "a spoon")
    result = run_cli("video", tiny_bundle, frames, *texts, "--out", out, "--overlay", "--objects", "--json")
    assert result.code == 0, result.err
    names = {f"{n}.png.{kind}-{t}.png" for n in (9, 10) for t in (1, 2) for kind in ("mask", "overlay")}
    names |= {f"{n}.png.objects.png" for n in (9, 10)}
    assert {path.name for path in out.iterdir()} == {*names, "video.json"}
    content = json.loads(result.out)
    stored = json.loads((out / "video.json").read_text())
    assert stored.pop("written_by").startswith("hyperseg-trt result of ") and content == stored
    session = pipeline.open_video()
    for number, entry in zip((9, 10), content["frames"], strict=True):
        assert entry["frame"] == f"{number}.png"
        (ready,) = session.push(frames / f"{number}.png", texts)
        with Image.open(out / f"{number}.png.objects.png") as drawn_objects:
            assert np.array_equal(np.asarray(drawn_objects), object_map(ready.results))
        for place, expected in enumerate(ready.results, 1):
            assert isinstance(expected, Instances)
            drawn = np.asarray(Image.open(out / f"{number}.png.mask-{place}.png")) > 0
            said = decode_rle(entry["results"][place - 1]["instances"][0]["segmentation"])
            assert np.array_equal(drawn, expected.mask) and np.array_equal(said, expected.mask)


def test_one_film_of_all_frames(
    run_cli: RunCli, tiny_bundle: Path, pipeline: Pipeline, coffee: Path, tmp_path: Path
) -> None:
    """Frames of another size than the first are fitted into it; the film is a result, and no input."""
    photo, frames, out = load_image(coffee), tmp_path / "frames", tmp_path / "out"
    frames.mkdir()
    shapes = {"1.png": photo[:200, :320], "2.png": photo[100:300, :320], "3.png": photo[:300, :200]}
    for name, pixels in shapes.items():
        Image.fromarray(pixels).save(frames / name)
    result = run_cli("video", tiny_bundle, frames, "the cup", "a spoon", "--out", out, "--overlay-video")
    assert result.code == 0, result.err
    film = read_film(out / "overlay.mp4")
    assert film.shape == (3, 200, 320, 3)
    session = pipeline.open_video()
    (first,) = session.push(frames / "1.png", ["the cup", "a spoon"])
    drawn = draw_best(shapes["1.png"], [one for one in first.results if isinstance(one, Instances)])
    assert np.abs(film[0].astype(int) - drawn).mean() < FILM_ERROR < np.abs(film[1].astype(int) - drawn).mean()
    assert film[2][:, :80].max() < 20 < film[2][:, 120:200].mean()  # bars beside the narrow one
    again = run_cli("video", tiny_bundle, out / "overlay.mp4", "the cup", "--out", tmp_path / "more")
    assert again.code == 2 and "is a result that this program wrote" in again.err
    assert not [path for path in out.iterdir() if "partial" in path.name]


def read_film(path: Path) -> np.ndarray:
    """(frames, H, W, 3) RGB uint8."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1][:, :, ::-1])
    capture.release()
    return np.stack(frames)


def test_wrong_input_writes_nothing(run_cli: RunCli, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for frames, message in (("absent", "no such file or folder"), ("empty", "no image in it")):
        result = run_cli("video", tiny_bundle, tmp_path / frames, "the cup", "--out", tmp_path / "out")
        assert result.code == 2 and message in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_objects_of_a_class_list_are_numbered(
    run_cli: RunCli, tiny_bundle: Path, pipeline: Pipeline, coffee: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    certain_of_nothing = partialmethod(HypersegVideo.__init__, min_score=0)  # as random weights are
    monkeypatch.setattr(HypersegVideo, "__init__", certain_of_nothing)
    photo, frames, out = load_image(coffee), tmp_path / "frames", tmp_path / "out"
    frames.mkdir()
    for number in (1, 2):
        Image.fromarray(photo[:200, 10 * number : 10 * number + 200]).save(frames / f"{number}.png")
    arguments = ("video", tiny_bundle, frames, "--classes", "cup,a spoon", "--out", out)
    result = run_cli(*arguments, "--overlay", "--overlay-video", "--json")
    assert result.code == 0, result.err
    names = {f"{n}.png.{kind}.png" for n in (1, 2) for kind in ("mask", "overlay")}
    assert {path.name for path in out.iterdir()} == {*names, "video.json", "overlay.mp4"}
    session = pipeline.open_video()
    for number, entry in zip((1, 2), json.loads(result.out)["frames"], strict=True):
        (ready,) = session.push(frames / f"{number}.png", Classes.of(("cup", "a spoon")))
        (expected,), (told,) = ready.results, entry["results"]
        assert isinstance(expected, Instances) and told["asked"] == ["cup", "a spoon"]
        assert [row["details"] for row in told["instances"]] == [dict(own) for own in expected.instance_details]
        drawn = np.asarray(Image.open(out / f"{number}.png.mask.png"))
        assert drawn.any() and np.array_equal(drawn, track_map(expected))


def test_a_frame_is_asked_one_kind_of_thing(run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for more, message in (
        (("the cup", "--classes", "cup"), "got texts and --classes"),
        (("--classes", "cup", "--point", "1,2"), "got --classes and regions"),
        ((), "got nothing"),
        (("--classes", "cup", "--objects"), "FRAME.mask.png has the number of every object"),
    ):
        result = run_cli("video", tiny_bundle, coffee.parent, *more, "--out", out)
        assert result.code == 2 and message in " ".join(result.err.split()), result.err
    assert not out.exists()


def test_regions_of_a_first_frame_that_cannot_be_read_are_refused(
    run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path
) -> None:
    """They are not those of the second; texts are of every frame."""
    frames, out = tmp_path / "frames", tmp_path / "out"
    frames.mkdir()
    (frames / "000.png").write_bytes(b"damaged")
    Image.fromarray(load_image(coffee)[:120, :160]).save(frames / "001.png")
    result = run_cli("video", tiny_bundle, frames, "--box", "10,10,40,40", "--out", out)
    assert result.code == 2 and "the first frame, 000.png, which could not be read" in " ".join(result.err.split())
    assert not out.exists()
    assert run_cli("video", tiny_bundle, frames, "the cup", "--out", out).code == 11
