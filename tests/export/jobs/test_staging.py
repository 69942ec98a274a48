import errno
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hyperseg_export.jobs.staging import Staging, content_key
from hyperseg_runtime.errors import OutputError, ResourceError


def test_target_appears_only_when_everything_is_done(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with Staging(target, overwrite=False) as staging:
        result = staging.run("one", "key", writes("a.txt", "hello"))
        assert not target.exists()
        staging.commit(result.files)
    assert names(tmp_path) == ["bundle", "bundle/a.txt"]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with pytest.raises(KeyboardInterrupt), Staging(target, overwrite=False) as staging:
        staging.run("one", "key", writes("a.txt", "first"))
        raise KeyboardInterrupt
    with Staging(target, overwrite=False) as staging:
        kept = staging.run("one", "key", writes("a.txt", "never"))
        new = staging.run("two", "key", writes("b.txt", "second"))
        staging.commit([*kept.files, *new.files])
        assert staging.resumed == ["one"]
    assert (target / "a.txt").read_text() == "first"
    assert (target / "b.txt").read_text() == "second"


def test_what_only_looks_at_finished_steps_loses_none_of_them(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with pytest.raises(ResourceError), Staging(target, overwrite=False) as staging:
        staging.run("one", "key", writes("a.txt", "first"))
        staging.keep()
        raise ResourceError("killed")
    with Staging(target, overwrite=False) as staging:
        staging.commit(staging.run("one", "key", writes("a.txt", "never")).files)
    assert (target / "a.txt").read_text() == "first"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_came_to_the_target_meanwhile_stays(tmp_path: Path, overwrite: bool) -> None:
    """And so does the work, for the next try."""
    target = tmp_path / "bundle"
    with (
        pytest.raises(OutputError, match=r"bundle (exists|holds neither)"),
        Staging(target, overwrite) as staging,
    ):
        made = staging.run("one", "key", writes("a.txt", "first"))
        target.mkdir()
        (target / "photo.jpg").write_text("mine")
        staging.commit(made.files)
    assert names(target) == ["photo.jpg"]
    (target / "photo.jpg").unlink()
    target.rmdir()
    with Staging(target, overwrite) as staging:
        staging.commit(staging.run("one", "key", writes("a.txt", "never")).files)
    assert (target / "a.txt").read_text() == "first"


def test_folders_that_hold_nothing_of_the_target_are_left_behind(tmp_path: Path) -> None:
    with Staging(tmp_path / "bundle", overwrite=False) as staging:
        made = staging.run("one", "key", writes("a.txt", "hello"))
        (staging.directory / "scratch" / "deeper").mkdir(parents=True)
        (staging.directory / "scratch" / "deeper" / "x.npy").touch()
        staging.commit(made.files)
    assert names(tmp_path) == ["bundle", "bundle/a.txt"]


@pytest.mark.parametrize("change", ["key", "content", "missing", "record"])
def test_a_step_that_is_not_as_recorded_runs_again_with_all_after_it(tmp_path: Path, change: str) -> None:
    target = tmp_path / "bundle"
    with pytest.raises(KeyboardInterrupt), Staging(target, overwrite=False) as staging:
        for name in ("one", "two", "three"):
            staging.run(name, "key", writes(f"{name}.txt", "old"))
        raise KeyboardInterrupt
    if change == "content":
        (staging.directory / "two.txt").write_text("changed")
    elif change == "missing":
        (staging.directory / "two.txt").unlink()
    elif change == "record":
        (staging.directory / ".steps" / "two.json").write_text('{"key": "key"}')
    with Staging(target, overwrite=False) as staging:
        for name in ("one", "two", "three"):
            staging.run(name, "other" if name == "two" and change == "key" else "key", writes(f"{name}.txt", "new"))
        assert staging.resumed == ["one"]
        assert (staging.directory / "three.txt").read_text() == "new"


@pytest.mark.parametrize(
    ("code", "expected"), [(errno.ENOSPC, ResourceError), (errno.EDQUOT, ResourceError), (errno.EROFS, OutputError)]
)
def test_a_refused_write_leaves_nothing(tmp_path: Path, code: int, expected: type[Exception]) -> None:
    def fail(directory: Path) -> tuple[Iterable[str], dict[str, Any]]:
        (directory / "half.txt").write_text("half")
        raise OSError(code, "refused")

    with pytest.raises(expected), Staging(tmp_path / "bundle", overwrite=False) as staging:
        staging.run("one", "key", writes("a.txt", "hello"))
        staging.run("two", "key", fail)
    assert names(tmp_path) == []


def test_files_of_an_abandoned_try_do_not_reach_the_target(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with pytest.raises(KeyboardInterrupt), Staging(target, overwrite=False) as staging:
        (staging.directory / "stray.bin").write_bytes(b"left over")
        raise KeyboardInterrupt
    with Staging(target, overwrite=False) as staging:
        staging.commit(staging.run("one", "key", writes("a.txt", "hello")).files)
    assert names(tmp_path) == ["bundle", "bundle/a.txt"]


def test_an_existing_target_is_replaced_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(OutputError, match="--overwrite"), Staging(target, overwrite=False):
        pass
    with pytest.raises(OutputError, match="neither a bundle nor a checkpoint"), Staging(target, overwrite=True):
        pass
    (target / "manifest.json").write_text('{"format_version": 1, "files": {"old.txt": {}}}')
    with Staging(target, overwrite=True) as staging:
        result = staging.run("one", "key", writes("a.txt", "new"))
        assert (target / "old.txt").exists()
        staging.commit(result.files)
    assert names(tmp_path) == ["bundle", "bundle/a.txt"]


def test_two_processes_cannot_write_one_target(tmp_path: Path) -> None:
    with (
        Staging(tmp_path / "bundle", overwrite=False),
        pytest.raises(OutputError, match="another process"),
        Staging(tmp_path / "bundle", overwrite=False),
    ):
        pass


def test_keys_differ_with_any_part() -> None:
    assert content_key("graph", {"a": 1, "b": 2}) == content_key("graph", {"b": 2, "a": 1})
    assert len({content_key("graph", 1), content_key("graph", 2), content_key("graph"), content_key("other", 1)}) == 4


def writes(name: str, content: str) -> Any:
    """A step that writes one file."""

    def work(directory: Path) -> tuple[Iterable[str], dict[str, Any]]:
        (directory / name).write_text(content)
        return [name], {}

    return work


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_other_work_on_the_same_target_finds_nothing_of_it(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with pytest.raises(KeyboardInterrupt), Staging(target, overwrite=False) as staging:
        staging.run("one", "key", writes("a.txt", "export"))
        raise KeyboardInterrupt
    with Staging(target, overwrite=False, mark="swap") as staging:
        result = staging.run("one", "key", writes("a.txt", "swap"))
        staging.commit(result.files)
        assert not staging.resumed
    assert (target / "a.txt").read_text() == "swap"
    assert (tmp_path / ".bundle.partial" / "a.txt").read_text() == "export"
