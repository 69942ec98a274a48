"""A batch: the files of single runs, whatever stops it, whoever works; and images that fail."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.batch.batch import run_batch
from hyperseg_runtime.batch.inputs import open_inputs
from hyperseg_runtime.batch.item_file import Row
from hyperseg_runtime.batch.run_record import ITEMS
from hyperseg_runtime.batch.segmenting import Segmenting
from hyperseg_runtime.batch.subject import Subject
from hyperseg_runtime.batch.working import Job, in_this_process
from hyperseg_runtime.contracts.requests import Expressions, SegmentationRequest
from hyperseg_runtime.contracts.results import Result
from hyperseg_runtime.errors import (
    BundleError,
    EnvironmentMissingError,
    HypersegError,
    ImageError,
    NumericsError,
    OutputError,
    PromptError,
    ResourceError,
)
from hyperseg_runtime.files.locking import sole_writer
from hyperseg_runtime.files.results import Kind
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.session.image_session import ImageSession
from hyperseg_runtime.session.pipeline import Pipeline
from support import RunCli

KINDS = (Kind.MASK, Kind.RESULT, Kind.YOLO)


class StoppedError(Exception):
    pass


class Counting:
    """Works in this process, and tells what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, job: Job, keys: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
        self.asked.extend(keys)
        yield from in_this_process(job, keys)


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
        run_batch(stopped, work=stopping)
    resumed = Counting()
    rows = run_batch(stopped, work=resumed)
    assert len(resumed.asked) == 3 - (stop_after if stop_after < 2 else 1)  # the second cannot be read: tried again
    whole = job(tiny_bundle, images, tmp_path / "whole")
    assert rows == run_batch(whole)
    masks = {path.name: path.read_bytes() for path in whole.out.rglob("*.mask-*.png")}
    assert len(masks) == 4 and masks == {path.name: path.read_bytes() for path in stopped.out.rglob("*.mask-*.png")}


def test_other_settings_are_another_batch(tiny_bundle: Path, engine_bundle: Path, images: Path, tmp_path: Path) -> None:
    """Nothing of them may pass for what was asked first; the number of threads changes nothing that comes out."""
    first = job(tiny_bundle, images, tmp_path / "out")
    rows = run_batch(first)
    subject = first.subject
    for name, other in {
        "request": replace(first, request=Expressions(("the cup",), "referring")),
        "kinds": replace(first, kinds=(*KINDS, Kind.COCO)),
        "ids": replace(first, ids=(("cup", 7),)),
        "inputs": replace(first, inputs=open_inputs(images / "more")),
        "backend": replace(first, subject=replace(subject, backend="onnxruntime-cuda")),
        "options": replace(first, subject=replace(subject, options={"custom_op_libraries": [Path("cpu_ops-1.so")]})),
        "backend, engines": replace(first, subject=Subject(engine_bundle, "tensorrt")),
    }.items():
        with pytest.raises(OutputError, match=rf"holds another batch \(its {name} differ\)"):
            run_batch(other)
    again = Counting()
    assert run_batch(replace(first, subject=replace(subject, options={"threads": 2})), work=again) == rows
    assert again.asked == ["broken.png"]


def test_replaced_images_are_asked_again(tiny_bundle: Path, images: Path, tmp_path: Path) -> None:
    first = job(tiny_bundle, images, tmp_path / "out")
    before = run_batch(first)
    shutil.copy(images / "more" / "b.png", images / "a.png")
    work = Counting()
    after = run_batch(first, work=work)
    assert sorted(work.asked) == ["a.png", "broken.png"] and after["more/b.png"] == before["more/b.png"]
    for number in (1, 2):
        one, other = (first.out / f"{name}.mask-{number}.png" for name in ("a.png", "more/b.png"))
        assert np.array_equal(np.asarray(Image.open(one)), np.asarray(Image.open(other)))


def test_overwrite_begins_anew(run_cli: RunCli, tiny_bundle: Path, images: Path, tmp_path: Path) -> None:
    (images / "broken.png").unlink()
    asked = ("batch", tiny_bundle, images, "the cup", "--out", tmp_path / "out", "--threads", 1)
    assert run_cli(*asked).code == 0
    result = tmp_path / "out" / "a.png.mask.png"
    expected = result.read_bytes()
    result.write_bytes(b"changed")
    refused = run_cli(*asked, "--also", "coco")
    assert refused.code == 2 and "holds another batch (its kinds differ)" in " ".join(refused.err.split())
    anew = run_cli(*asked, "--overwrite")
    assert anew.code == 0, anew.err
    assert result.read_bytes() == expected and len((tmp_path / "out" / ITEMS).read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("the cup", "--task", "nope"), "unknown task 'nope'"), (("cup " * 1500,), "the model was exported for")],
    ids=["task", "length"],
)
def test_a_request_that_cannot_be_answered_is_refused_before_the_first_image(
    run_cli: RunCli, tiny_bundle: Path, images: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (images / "broken.png").unlink()
    out = tmp_path / "out"
    refused = run_cli("batch", tiny_bundle, images, *arguments, "--out", out)
    assert refused.code == 2 and words in " ".join(refused.err.split()), refused.err
    assert not out.exists()
    out.mkdir()
    assert run_cli("batch", tiny_bundle, images, *arguments, "--out", out).code == 2 and not list(out.iterdir())
    assert run_cli("batch", tiny_bundle, images, "the cup", "--out", out).code == 0


def test_a_backend_that_is_missing_leaves_no_folder(
    run_cli: RunCli, tiny_bundle: Path, images: Path, tmp_path: Path
) -> None:
    """It is one of the conditions of the batch, which another backend may go on with."""
    out = tmp_path / "out"
    result = run_cli("batch", tiny_bundle, images, "the cup", "--out", out, "--backend", "onnxruntime-cuda")
    assert result.code == 3 and not out.exists(), result.err


class Failing:
    """In place of `ImageSession.run`: the second request fails."""

    def __init__(self, error: Exception) -> None:
        self._error, self._asked, self._run = error, 0, ImageSession.run

    def __call__(self, session: ImageSession, request: SegmentationRequest) -> list[Result]:
        self._asked += 1
        if self._asked == 2:
            raise self._error
        return self._run(session, request)


@pytest.mark.parametrize(
    "error",
    [
        HypersegError("CUDA: an illegal memory access; no result of this process can be trusted"),
        EnvironmentMissingError("a package is missing"),
        BundleError("a file was changed"),
        ResourceError("memory ran out"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_no_image_causes_ends_the_batch(
    tiny_bundle: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What was done before stays."""
    begun, failing = job(tiny_bundle, images, tmp_path / "out"), Failing(error)
    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(ImageSession, "run", lambda session, request: failing(session, request))
        run_batch(begun)
    resumed = Counting()
    run_batch(begun, work=resumed)
    assert sorted(resumed.asked) == ["broken.png", "more/b.png"]


@pytest.mark.parametrize(
    "error",
    [ImageError("too long"), PromptError("nothing was named"), NumericsError()],
    ids=lambda error: type(error).__name__,
)
def test_what_one_image_causes_is_told_in_its_row(
    tiny_bundle: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing = Failing(error)
    monkeypatch.setattr(ImageSession, "run", lambda session, request: failing(session, request))
    rows = run_batch(job(tiny_bundle, images, tmp_path / "out"))
    assert rows["more/b.png"][0]["error"] == str(error) and len(rows["a.png"]) == 2


def test_two_batches_of_one_folder(run_cli: RunCli, tiny_bundle: Path, images: Path, tmp_path: Path) -> None:
    """The second is told, and nothing of the first is touched."""
    out = tmp_path / "out"
    out.mkdir()
    with sole_writer(out):
        result = run_cli("batch", tiny_bundle, images, "the cup", "--out", out)
    assert result.code == 2 and "another process is writing it" in result.err
    assert not list(out.iterdir())


def test_labels_of_others_stay(tiny_bundle: Path, images: Path, tmp_path: Path) -> None:
    begun = job(tiny_bundle, images, tmp_path / "out")
    labels = begun.out / "a.png.yolo-2.txt"
    labels.write_text("0 0.1 0.1 0.2 0.2 0.3 0.3\n")
    with pytest.raises(OutputError, match=r"a\.png\.yolo-2\.txt: exists and is no unchanged result"):
        run_batch(begun)
    assert labels.read_text() == "0 0.1 0.1 0.2 0.2 0.3 0.3\n"


def test_labels_that_were_corrected_stay(tiny_bundle: Path, images: Path, tmp_path: Path) -> None:
    """Labels of an image that was replaced are made anew, also after it could not be read, unless somebody did."""
    begun = job(tiny_bundle, images, tmp_path / "out")
    labels, image = begun.out / "a.png.yolo-1.txt", images / "a.png"
    run_batch(begun)
    written, sound = labels.read_text(), image.read_bytes()
    image.write_bytes(b"\x89PNG\r\n\x1a\n")
    run_batch(begun)
    shutil.copy(images / "more" / "b.png", image)
    run_batch(begun)
    assert labels.read_text() == (begun.out / "more" / "b.png.yolo-1.txt").read_text() != written
    labels.write_text("corrected\n")
    image.write_bytes(sound)
    with pytest.raises(OutputError, match=r"a\.png\.yolo-1\.txt: exists and is no unchanged result"):
        run_batch(begun)
    assert labels.read_text() == "corrected\n"


def test_mistakes_leave_no_folder(run_cli: RunCli, tiny_bundle: Path, images: Path, tmp_path: Path) -> None:
    workers = run_cli("batch", tiny_bundle, images, "the cup", "--out", tmp_path / "out", "--workers", 4)
    assert workers.code == 2 and "--workers is a setting of Ray; add --ray" in workers.err
    result = run_cli("batch", tmp_path / "absent", images, "the cup", "--out", tmp_path / "out")
    assert result.code == 6 and "no such folder" in result.err and not (tmp_path / "out").exists()


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # Ray's own, about its sockets and threads
def test_two_workers_write_the_same_files(tiny_bundle: Path, images: Path, tmp_path: Path) -> None:
    from hyperseg_runtime.batch.on_ray import on_ray

    alone, spread = (job(tiny_bundle, images, tmp_path / name) for name in ("alone", "spread"))
    assert run_batch(alone) == run_batch(spread, work=on_ray(2))
    files = {path.relative_to(alone.out): path.read_bytes() for path in alone.out.rglob("*.png")}
    assert files == {path.relative_to(spread.out): path.read_bytes() for path in spread.out.rglob("*.png")}
    again = Counting()
    run_batch(spread, work=again)
    assert again.asked == ["broken.png"]  # what workers did counts as done
