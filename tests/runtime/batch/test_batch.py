"""A batch: the files of single runs, whatever stops it, whoever works; and images that fail."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.batch.batch import ITEMS, run_batch
from hyperseg_runtime.batch.inputs import open_inputs
from hyperseg_runtime.batch.item_file import Row
from hyperseg_runtime.batch.segmenting import Segmenting
from hyperseg_runtime.batch.subject import Subject
from hyperseg_runtime.batch.working import Job, in_this_process
from hyperseg_runtime.contracts.requests import Expressions
from hyperseg_runtime.errors import OutputError
from hyperseg_runtime.files.results import Kind
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.session.pipeline import Pipeline
from support import RunCli

KINDS = (Kind.MASK, Kind.RESULT, Kind.YOLO)


class StoppedError(Exception):
    pass


@pytest.fixture
def images(tmp_path: Path, coffee: Path) -> Path:
    """Two pictures, and one that is none."""
    folder, photo = tmp_path / "images", load_image(coffee)
    (folder / "more").mkdir(parents=True)
    Image.fromarray(photo[:120, :160]).save(folder / "a.png")
    Image.fromarray(photo[100:220, 200:360]).save(folder / "more" / "b.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def job(bundle: Path, images: Path, out: Path) -> Segmenting:
    out.mkdir(exist_ok=True)
    subject = Subject(bundle, options={"threads": 1})
    return Segmenting(subject, open_inputs(images), Expressions(("the cup", "a spoon"), "referring"), out, KINDS)


def test_the_verb_writes_what_single_runs_would(
    run_cli: RunCli, tiny_bundle: Path, pipeline: Pipeline, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = run_cli("batch", tiny_bundle, images, "the cup", "--out", out, "--json", "--also", "labelme")
    assert result.code == 11 and "1 of 3 images failed; the first, broken.png" in " ".join(result.err.split())
    told = json.loads(result.out)
    assert told["items"] == 3 and list(told["failed"]) == ["broken.png"]
    endings = ("mask.png", "overlay.png", "result.json", "labelme.json")
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert written == {"run.json", ITEMS, *(f"{n}.{e}" for n in ("a.png", "more/b.png") for e in endings)}
    found = np.asarray(Image.open(out / "more" / "b.png.mask.png")) > 0
    assert np.array_equal(found, pipeline(images / "more" / "b.png", "the cup").mask)
    again = run_cli("batch", tiny_bundle, images, "the cup", "--out", out, "--json", "--also", "labelme")
    assert again.code == 11 and json.loads(again.out) == told
    other = run_cli("batch", tiny_bundle, images, "a spoon", "--out", out)
    assert other.code == 2 and "holds another batch" in " ".join(other.err.split())


def test_what_was_left_out_is_told(run_cli: RunCli, tiny_bundle: Path, images: Path, tmp_path: Path) -> None:
    """Only what should have been an image makes the input partial."""
    (images / "broken.png").unlink()
    (images / "._a.png").write_bytes(b"\0\5\x16\7")
    (images / "notes.txt").write_text("nothing")
    whole = run_cli("batch", tiny_bundle, images, "the cup", "--out", tmp_path / "out", "--json")
    assert whole.code == 0, whole.err
    assert "is no image: ._a.png (hidden), notes.txt (no image)" in " ".join(whole.err.split())
    assert json.loads(whole.out)["left_out"] == [
        {"name": "._a.png", "reason": "hidden", "lost": False},
        {"name": "notes.txt", "reason": "no image", "lost": False},
    ]
    (images / "lost.png").symlink_to("nowhere.png")
    partial = run_cli("batch", tiny_bundle, images, "the cup", "--out", tmp_path / "out")
    assert partial.code == 11 and "could not be read: lost.png (a link to nowhere.png" in " ".join(partial.err.split())
    assert "2 of 2 images" in partial.out


@pytest.mark.parametrize(("bundle", "words"), [("absent", "no such folder"), ("images", "manifest.json is missing")])
def test_what_is_no_bundle_is_refused_in_its_words(
    run_cli: RunCli, images: Path, tmp_path: Path, bundle: str, words: str
) -> None:
    result = run_cli("batch", tmp_path / bundle, images, "the cup", "--out", tmp_path / "out")
    assert result.code == 6 and words in " ".join(result.err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stop_after", [0, 1, 2])
def test_a_killed_batch_goes_on(tiny_bundle: Path, images: Path, tmp_path: Path, stop_after: int) -> None:
    def stopping(job: Job, keys: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
        for done, entry in enumerate(in_this_process(job, keys)):
            if done == stop_after:
                raise StoppedError
            yield entry

    stopped = job(tiny_bundle, images, tmp_path / "stopped")
    with pytest.raises(StoppedError):
        run_batch(stopped, {"one": 1}, work=stopping)
    asked: list[str] = []

    def counting(job: Job, keys: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
        asked.extend(keys)
        yield from in_this_process(job, keys)

    rows = run_batch(stopped, {"one": 1}, work=counting)
    assert len(asked) == 3 - (stop_after if stop_after < 2 else 1)  # the second image cannot be read: tried again
    whole = job(tiny_bundle, images, tmp_path / "whole")
    assert rows == run_batch(whole, {"one": 1})
    masks = {path.name: path.read_bytes() for path in whole.out.rglob("*.mask-*.png")}
    assert len(masks) == 4 and masks == {path.name: path.read_bytes() for path in stopped.out.rglob("*.mask-*.png")}
    with pytest.raises(OutputError, match="holds another batch"):
        run_batch(whole, {"one": 2})


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # Ray's own, about its sockets and threads
def test_two_workers_write_the_same_files(tiny_bundle: Path, images: Path, tmp_path: Path) -> None:
    from hyperseg_runtime.batch.on_ray import on_ray

    alone, spread = (job(tiny_bundle, images, tmp_path / name) for name in ("alone", "spread"))
    assert run_batch(alone, {"one": 1}) == run_batch(spread, {"one": 1}, work=on_ray(2))
    files = {path.relative_to(alone.out): path.read_bytes() for path in alone.out.rglob("*.png")}
    assert files == {path.relative_to(spread.out): path.read_bytes() for path in spread.out.rglob("*.png")}
