"""Tiny checkpoints appear whole or not at all, and are the same for the same seed."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_export.make_tiny import make_tiny
from hyperseg_runtime.errors import InputError, OutputError


def test_one_seed_gives_the_same_bytes_every_time(tiny_checkpoint: Path, tmp_path: Path) -> None:
    make_tiny(tmp_path / "again", "hyperseg", seed=0)
    assert contents(tmp_path / "again") == contents(tiny_checkpoint)


def test_another_seed_changes_the_weights_only(tiny_checkpoint: Path, tmp_path: Path) -> None:
    make_tiny(tmp_path / "other", "hyperseg", seed=1)
    ours, other = contents(tiny_checkpoint), contents(tmp_path / "other")
    assert {name for name in ours if ours[name] != other[name]} == {
        name for name in ours if name.endswith(".safetensors")
    }


def test_missing_folders_above_are_made(tmp_path: Path) -> None:
    make_tiny(tmp_path / "a" / "b", "hyperseg", seed=0)
    assert (tmp_path / "a" / "b" / "config.json").is_file()
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o755


def test_an_unknown_family_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown family 'sam'; families known here: hyperseg"):
        make_tiny(tmp_path / "x", "sam", seed=0)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(OutputError, match="exists; give another name, or --overwrite"):
        make_tiny(tmp_path, "hyperseg", seed=0)
    assert (tmp_path / "kept").read_text() == "mine"


def test_overwrite_replaces_all_of_the_folder(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "old.safetensors").write_text("old")
    (target / "config.json").write_text("old")
    make_tiny(target, "hyperseg", seed=0, overwrite=True)
    assert not (target / "old.safetensors").exists()
    assert (target / "config.json").read_text() != "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failure_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    def fail(directory: Path, sizes: object, seed: int) -> None:
        (directory / "half").write_text("half")
        raise KeyboardInterrupt

    target = tmp_path / "target"
    if overwrite:
        target.mkdir()
        for name in ("config.json", "old.safetensors"):
            (target / name).write_text("old")
    family = EXPORT_FAMILIES["hyperseg"]
    broken = replace(family, random=replace(family.random, write_checkpoint=fail))
    monkeypatch.setitem(EXPORT_FAMILIES, "hyperseg", broken)
    with pytest.raises(KeyboardInterrupt):
        make_tiny(target, "hyperseg", seed=0, overwrite=overwrite)
    kept = [target, target / "config.json", target / "old.safetensors"]
    assert sorted(tmp_path.rglob("*")) == (kept if overwrite else [])


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        make_tiny(tmp_path / "file" / "inside", "hyperseg", seed=0)


@pytest.mark.parametrize("kind", ["file", "link to a folder"])
def test_overwriting_what_is_no_folder_is_done_or_refused_as_a_whole(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    if kind == "file":
        target.write_text("mine")
    else:
        (tmp_path / "elsewhere").mkdir()
        target.symlink_to(tmp_path / "elsewhere")
    before = sorted(path.name for path in tmp_path.iterdir())

    refused = False
    try:
        make_tiny(target, "hyperseg", seed=0, overwrite=True)
    except OutputError:
        refused = True

    assert (target / "config.json").is_file() != refused
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
