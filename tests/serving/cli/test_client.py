"""`client` with a server that is played: what is written of stdin, and what is left of a video that ends early."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.contracts.results import Instances, Result
from hyperseg_runtime.errors import HypersegError, ServerError, UnavailableError
from hyperseg_runtime.families.family import FrameResults
from hyperseg_serving.cli import client as verbs
from support import RunCli

IMAGES = [np.full((6, 8, 3), level, np.uint8) for level in (10, 20, 30, 40)]


def result(text: str) -> Result:
    masks = np.ones((1, 6, 8), np.bool_)
    return Instances(asked=(text,), task="t", masks=masks, scores=np.ones(1, np.float32), labels=(text,))


class Played:
    """Answers everything with a whole mask; a video until frame `fails_at`, from 1."""

    def __init__(self, fails_at: int = 0, error: HypersegError | None = None) -> None:
        self._fails_at = fails_at
        self._error = error
        self._frames = 0

    def segment(self, image: bytes, texts: Sequence[str], options: object) -> list[Result]:
        return [result(text) for text in texts]

    def open_video(self) -> "Played":
        return self

    def push(self, frame: np.ndarray, texts: Sequence[str], last: bool, options: object) -> list[FrameResults]:
        self._frames += 1
        if self._error is not None and self._frames == self._fails_at:
            raise self._error
        return [FrameResults(self._frames - 1, tuple(result(text) for text in texts))]

    def __enter__(self) -> "Played":
        return self

    def __exit__(self, *error: object) -> None: ...


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, pixels in enumerate(IMAGES, 1):
        (folder / f"{number}.png").write_bytes(png(pixels))
    return folder


def test_results_of_other_bytes_on_stdin_are_not_replaced(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "_client", lambda url, timeout_s: Played())

    def segment(pixels: np.ndarray) -> Any:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(png(pixels))))
        return run_cli("client", "segment", "-", "the cup", "--format", "png", "--out", tmp_path)

    assert segment(IMAGES[0]).code == 0
    before = (tmp_path / "stdin.mask.png").read_bytes()
    other = segment(IMAGES[1])
    assert other.code == 2 and "is the result of another input of this name" in " ".join(other.err.split())
    assert (tmp_path / "stdin.mask.png").read_bytes() == before
    assert segment(IMAGES[0]).code == 0


@pytest.mark.parametrize(
    ("error", "code"), [(ServerError("the connection was lost"), 9), (UnavailableError("the server is stopping"), 10)]
)
def test_a_video_that_ends_early_leaves_what_is_done(
    run_cli: RunCli, frames: Path, monkeypatch: pytest.MonkeyPatch, error: HypersegError, code: int
) -> None:
    monkeypatch.setattr(verbs, "_client", lambda url, timeout_s: Played(4, error))
    found = run_cli("client", "video", frames, "the cup")
    assert found.code == code and str(error) in found.err
    told = json.loads(found.out)
    assert [row["frame"] for row in told["frames"]] == ["1.png", "2.png", "3.png"] and told["complete"] is False
    assert told["frames"][2]["results"] == [result("the cup").to_json()]


def test_a_video_that_never_begins_prints_nothing(
    run_cli: RunCli, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "_client", lambda url, timeout_s: Played(1, ServerError("the connection was lost")))
    found = run_cli("client", "video", frames, "the cup")
    assert found.code == 9 and not found.out


def test_regions_of_a_first_frame_that_cannot_be_read_are_of_no_other(
    run_cli: RunCli, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = (frames / "1.png").read_bytes()[:-60]
    (frames / "1.png").write_bytes(damaged)
    monkeypatch.setattr(verbs, "_client", lambda url, timeout_s: Played())
    found = run_cli("client", "video", frames, "--box", "1,1,3,3")
    assert found.code == 2 and "regions are of the first frame, 1.png, which could not be read" in " ".join(
        found.err.split()
    )
    assert run_cli("client", "video", frames, "the cup").code == 11  # a text is of any frame


def test_a_whole_video_is_complete(run_cli: RunCli, frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (frames / "notes.txt").write_text("no frame")
    monkeypatch.setattr(verbs, "_client", lambda url, timeout_s: Played())
    found = run_cli("client", "video", frames, "the cup")
    assert found.code == 0, found.err
    told = json.loads(found.out)
    assert len(told["frames"]) == 4 and told["complete"] is True
    assert told["left_out"] == [{"frame": "notes.txt", "reason": "no image", "lost": False}]
