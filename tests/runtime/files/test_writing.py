"""Faults of the disk, put in by hand: what was there stays, nothing half made is left."""

import errno
import gc
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hyperseg_runtime.errors import HypersegError, OutputError, ResourceError
from hyperseg_runtime.files import writing
from hyperseg_runtime.files.writing import explained, output_folder, replace_folder, write_atomically

FULL = OSError(errno.ENOSPC, "No space left on device")
DENIED = PermissionError(errno.EACCES, "Permission denied")
FAULTS = [(FULL, ResourceError), (OSError(errno.EDQUOT, "Disk quota exceeded"), ResourceError), (DENIED, OutputError)]


def test_a_file_is_written_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    for data in (b"first", b"", b"second" * 100_000):
        write_atomically(path, data)
        assert path.read_bytes() == data and content(tmp_path) == ["result.json"]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"")
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(old)


@pytest.mark.parametrize(
    ("step", "fault", "expected"),
    [
        *((step, *fault) for step in ("pathlib.Path.open", "pathlib.Path.replace") for fault in FAULTS),
        ("os.fsync", FULL, ResourceError),
        ("os.fsync", OSError(errno.EIO, "Input/output error"), OutputError),
    ],
)
def test_a_fault_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, fault: OSError, expected: type[HypersegError]
) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    monkeypatch.setattr(step, failing(fault))
    with pytest.raises(expected, match=r"result\.json: ") as caught:
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert str(fault.strerror) in str(caught.value)
    assert path.read_text() == "old" and content(tmp_path) == ["result.json"]


@pytest.mark.parametrize("step", ["os.fsync", "os.open"])
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EACCES])
def test_a_file_system_that_promises_nothing_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, step: str
) -> None:
    """The flush of the file or of its folder is refused, not the write."""
    calls = []

    def refuse(*arguments: object) -> None:
        calls.append(arguments)
        raise OSError(code, "refused")

    monkeypatch.setattr(step, refuse)
    write_atomically(tmp_path / "result.json", b"new")
    monkeypatch.undo()
    assert calls and (tmp_path / "result.json").read_bytes() == b"new"


def test_a_disk_that_fills_up_while_writing(tmp_path: Path) -> None:
    """/dev/full is always full."""
    with pytest.raises(ResourceError, match="no room left on the disk"), explained(tmp_path):
        Path("/dev/full").write_bytes(b"x" * 100)


def test_an_interruption_while_writing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "result.json", b"new")
    assert content(tmp_path) == []


@pytest.mark.parametrize("name", ["none/result.json", "file/result.json", "folder", "x" * 300])
def test_places_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    advice = "give the input a shorter name" if len(name) > 255 else "choose another place"
    with pytest.raises(OutputError, match=rf"cannot be written .*; {advice}"):
        write_atomically(tmp_path / name, b"new")
    assert content(tmp_path) == ["file", "folder"]


def test_an_output_folder_is_made_and_kept(tmp_path: Path) -> None:
    with output_folder(tmp_path / "a" / "b"):
        write_atomically(tmp_path / "a" / "b" / "file", b"")
    assert content(tmp_path) == ["a", "a/b", "a/b/file"]


@pytest.mark.parametrize("error", [RuntimeError(), KeyboardInterrupt()])
def test_a_failure_leaves_no_new_folder(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(type(error)), output_folder(tmp_path / "old" / "a" / "b"):
        raise error
    with pytest.raises(type(error)), output_folder(tmp_path / "old"):
        raise error
    assert content(tmp_path) == ["old"]


def test_a_failure_keeps_what_was_written_meanwhile(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), output_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "mine").write_text("x")
        raise RuntimeError
    assert content(tmp_path) == ["a", "a/mine"]


@pytest.mark.parametrize(("fault", "expected"), FAULTS)
@pytest.mark.parametrize("step", ["pathlib.Path.mkdir", "tempfile.TemporaryFile"])
def test_an_output_folder_is_tried_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, fault: OSError, expected: type[HypersegError]
) -> None:
    monkeypatch.setattr(step, failing(fault))
    with pytest.raises(expected), output_folder(tmp_path / "a"):
        raise AssertionError("the work began")
    assert content(tmp_path) == []


@pytest.mark.parametrize("name", ["file", "file/folder", "x" * 300, "new/" + "x" * 300])
def test_output_folders_that_cannot_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(OutputError, match="cannot be written"), output_folder(tmp_path / name):
        raise AssertionError("the work began")
    assert content(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_a_lack_of_resources(code: int) -> None:
    with pytest.raises(ResourceError, match=r"place: no room left on the disk \(reason\)"), explained(Path("place")):
        raise OSError(code, "reason")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENAMETOOLONG, errno.EIO])
def test_other_refusals_mean_another_place(code: int) -> None:
    with pytest.raises(OutputError, match=r"place: cannot be written \(reason\)"), explained(Path("place")):
        raise OSError(code, "reason")


def test_what_is_no_refusal_of_the_system_passes_through() -> None:
    for error in (ValueError("x"), OutputError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)), explained(Path("place")):
            raise error


def test_a_folder_takes_a_free_name(folders: tuple[Path, Path]) -> None:
    new, target = folders
    shutil.rmtree(target)
    replace_folder(new, target)
    assert (target / "file").read_text() == "new" and not new.exists()


def test_a_folder_takes_the_place_of_another(folders: tuple[Path, Path]) -> None:
    new, target = folders
    replace_folder(new, target)
    assert content(target.parent) == ["target", "target/file"] and (target / "file").read_text() == "new"


def test_what_an_earlier_crash_left_is_in_nobodys_way(folders: tuple[Path, Path]) -> None:
    new, target = folders
    shutil.copytree(target, target.with_name(".target.old"))
    replace_folder(new, target)
    assert content(target.parent) == ["target", "target/file"] and (target / "file").read_text() == "new"


def test_folders_swap_names_in_one_step(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first rename, the one that cleans up, the new folder is already in place."""
    new, target = folders
    monkeypatch.setattr(Path, "rename", failing(DENIED))
    with pytest.raises(PermissionError):
        replace_folder(new, target)
    assert (target / "file").read_text() == "new" and (new / "file").read_text() == "old"


@pytest.mark.parametrize("leftover", [False, True])
def test_where_folders_cannot_be_exchanged_they_are_renamed(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, leftover: bool
) -> None:
    monkeypatch.setattr(writing, "_exchange", lambda one, other: False)
    new, target = folders
    if leftover:
        target.with_name(".target.old").mkdir()
    replace_folder(new, target)
    assert content(target.parent) == ["target", "target/file"] and (target / "file").read_text() == "new"


def test_a_system_that_cannot_exchange_says_so(tmp_path: Path) -> None:
    assert not writing._exchange(tmp_path / "absent", tmp_path)


@pytest.mark.parametrize("renames", [0, 1])
def test_a_fault_while_replacing_leaves_the_old_folder(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """The fault comes after so many renames that went well; exchanging in one step is not possible."""
    new, target = folders
    monkeypatch.setattr(writing, "_exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", failing(DENIED, Path.rename, renames))
    with pytest.raises(PermissionError):
        replace_folder(new, target)
    assert (target / "file").read_text() == "old" and (new / "file").read_text() == "new"
    assert content(target.parent) == ["new", "new/file", "target", "target/file"]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A new folder and an old one whose place it shall take."""
    for name in ("new", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("old" if name == "target" else "new")
    return tmp_path / "new", tmp_path / "target"


def test_sync_of_a_folder_closes_what_it_opens(tmp_path: Path) -> None:
    gc.collect()  # what other tests left may close files meanwhile
    before = open_files()
    for _ in range(20):
        writing.fsync_directory(tmp_path)
    assert open_files() == before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def failing(error: BaseException, real: Callable[..., Any] | None = None, good: int = 0) -> Callable[..., Any]:
    """Raises `error`, after so many good calls of `real`; only once, so that a repair can work."""
    calls = 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if real is not None and calls != good + 1:
            return real(*arguments, **options)
        raise error

    return call


def content(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
