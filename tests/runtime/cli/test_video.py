"""The `video` verb as a user calls it."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from hyperseg_runtime.contracts.results import Instances, decode_rle
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.reports.objects import object_map
from hyperseg_runtime.session.pipeline import Pipeline
from support import RunCli


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


def test_wrong_input_writes_nothing(run_cli: RunCli, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for frames, message in (("absent", "no such file or folder"), ("empty", "no image in it")):
        result = run_cli("video", tiny_bundle, tmp_path / frames, "the cup", "--out", tmp_path / "out")
        assert result.code == 2 and message in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
