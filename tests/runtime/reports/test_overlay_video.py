"""A film that is not finished leaves nothing, one that cannot be written says so."""

from pathlib import Path

import numpy as np
import pytest

from hyperseg_runtime.errors import OutputError, ResourceError
from hyperseg_runtime.files.results import ResultFolder
from hyperseg_runtime.reports import overlay_video
from hyperseg_runtime.reports.overlay_video import OVERLAY_VIDEO, OverlayVideo

FRAME = np.full((48, 64, 3), 90, np.uint8)


def test_nothing_stays_of_a_film_that_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), OverlayVideo(ResultFolder(tmp_path), "x", None) as film:
        film.add(FRAME)
        raise RuntimeError("stop")
    assert not list(tmp_path.iterdir())


def test_a_foreign_file_stays(tmp_path: Path) -> None:
    (tmp_path / OVERLAY_VIDEO).write_bytes(b"holiday")
    with pytest.raises(OutputError, match="no unchanged result"):
        OverlayVideo(ResultFolder(tmp_path), "x", None)
    assert (tmp_path / OVERLAY_VIDEO).read_bytes() == b"holiday"


def test_frames_that_did_not_get_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay_video, "_frames_in", lambda path: 1)
    with pytest.raises(ResourceError, match="1 of 2 frames"), OverlayVideo(ResultFolder(tmp_path), "x", 5) as film:
        film.add(FRAME)
        film.add(FRAME)
        film.finish()
    assert not list(tmp_path.iterdir())


def test_a_machine_that_has_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay_video, "CODEC", "none")
    with pytest.raises(OutputError, match="--overlay-video"), OverlayVideo(ResultFolder(tmp_path), "x", 5) as film:
        film.add(FRAME)
