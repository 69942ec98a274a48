"""video.json is whole after every frame, whatever happens next."""

import errno
import json
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.errors import OutputError, ResourceError
from hyperseg_runtime.files.results import ResultFolder, result_of, source_digest
from hyperseg_runtime.reports.video_record import VIDEO_RECORD, VideoRecord

SOURCE = "/data/clip"
ROW = {"frame": "1.jpg", "results": [{"score": 0.5}]}


def content(folder: Path) -> Any:
    stored = json.loads((folder / VIDEO_RECORD).read_bytes())
    stored.pop("written_by")
    assert result_of(folder / VIDEO_RECORD) == source_digest(SOURCE)
    return stored


@settings(deadline=None, max_examples=30)
@given(names=st.lists(st.text(max_size=6) | st.just("\udcff.jpg"), max_size=6))
def test_every_state_is_an_object_and_a_result(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("video")
    with VideoRecord(ResultFolder(folder), SOURCE) as record:
        assert list(folder.iterdir()) == []
        for count, name in enumerate(names, 1):
            record.add({"frame": name})
            assert content(folder) == {"frames": [{"frame": n} for n in names[:count]], "complete": False}
        record.finish(left_out=[])
    assert content(folder) == {"frames": [{"frame": n} for n in names], "left_out": [], "complete": True}


def test_an_error_leaves_what_is_done(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), VideoRecord(ResultFolder(tmp_path), SOURCE) as record:
        record.add(ROW)
        raise RuntimeError
    assert content(tmp_path) == {"frames": [ROW], "complete": False}


@pytest.mark.parametrize("taken", [0, 1, 30])
def test_a_full_disk_leaves_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    """The disk takes so many bytes of the second frame."""
    real, room = FileIO.write, [10**6]

    def write(file: FileIO, data: Any) -> int:
        if not room[0]:
            room[0] = 10**6  # what is put back was there before
            raise OSError(errno.ENOSPC, "No space left on device")
        count = real(file, data[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr("hyperseg_runtime.reports.video_record.FileIO", type("Disk", (FileIO,), {"write": write}))
    with VideoRecord(ResultFolder(tmp_path), SOURCE) as record:
        record.add(ROW)
        room[0] = taken
        with pytest.raises(ResourceError, match="no room left"):
            record.add({"frame": "2.jpg"})
        assert content(tmp_path) == {"frames": [ROW], "complete": False}
        record.add({"frame": "3.jpg"})
        record.finish()
    assert content(tmp_path) == {"frames": [ROW, {"frame": "3.jpg"}], "complete": True}


def test_it_starts_anew_for_the_same_video_alone(tmp_path: Path) -> None:
    for _ in range(2):
        with VideoRecord(ResultFolder(tmp_path), SOURCE) as record:
            record.add(ROW)
    with pytest.raises(OutputError, match="another input of this name"):
        VideoRecord(ResultFolder(tmp_path), "/data/other")
    assert content(tmp_path)["frames"] == [ROW]
