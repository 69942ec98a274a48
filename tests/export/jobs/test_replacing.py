"""Only bundles and checkpoints give way, only to --overwrite, and not with files of others in them."""

import shutil
from pathlib import Path

import pytest

from hyperseg_export.jobs.replacing import require_replaceable
from hyperseg_export.make_tiny import make_tiny
from hyperseg_runtime.errors import OutputError
from hyperseg_runtime.families import FAMILIES


def refused(target: Path, message: str, keeps_others: bool = False) -> None:
    before = sorted(target.rglob("*")) if target.is_dir() else None
    with pytest.raises(OutputError, match=message):
        require_replaceable(target, True, keeps_others)
    assert before is None or sorted(target.rglob("*")) == before


def test_a_free_name(tmp_path: Path) -> None:
    for overwrite in (False, True):
        require_replaceable(tmp_path / "new", overwrite)


def test_what_is_there_is_kept_unless_said_otherwise(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    for target in (tmp_path, tmp_path / "link"):
        with pytest.raises(OutputError, match="exists; give another name, or --overwrite"):
            require_replaceable(target, False)
    require_replaceable(tmp_path.joinpath("empty"), True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", ""),
        ("config.json", "{}"),
        ("manifest.json", '{"name": "a web page", "icons": []}'),
        ("manifest.json", '{"format_version": 2, "files": ["a.txt"]}'),
        ("manifest.json", "[" * 10_000),
        ("manifest.json", ""),
    ],
)
def test_a_folder_of_somebody_else(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    refused(tmp_path, "holds neither a bundle nor a checkpoint; it is not replaced")
    with pytest.raises(OutputError, match="neither a bundle nor a checkpoint"):
        make_tiny(tmp_path, "hyperseg", 0, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("mine")
    refused(tmp_path / "bundle", "is no folder; it is not replaced")


def test_a_checkpoint(tiny_checkpoint: Path) -> None:
    require_replaceable(tiny_checkpoint, True)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_checkpoint_that_is_made_may_be_made_again(tmp_path: Path, family: str) -> None:
    for _ in range(2):
        make_tiny(tmp_path / "made", family, 0, overwrite=True)


@pytest.mark.parametrize("foreign", ["notes.txt", "logs/events.json", "earlier/model.safetensors"])
def test_a_checkpoint_with_files_of_somebody(tiny_checkpoint: Path, tmp_path: Path, foreign: str) -> None:
    """A training's folder, say: its logs and other checkpoints."""
    checkpoint = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    (checkpoint / foreign).parent.mkdir(exist_ok=True)
    (checkpoint / foreign).write_text("mine")
    refused(checkpoint, f"holds {foreign}, which is not part of the checkpoint; move it away")


def test_a_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    """With its engines; with notes of somebody it stays."""
    require_replaceable(tiny_bundle, True)
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    (bundle / "engines" / "sm90").mkdir(parents=True)
    (bundle / "engines" / "sm90" / "llm.plan").write_bytes(b"plan")
    require_replaceable(bundle, True)
    (bundle / "notes.txt").write_text("mine")
    refused(bundle, r"holds notes\.txt, which is not part of the bundle; move it away")
    require_replaceable(bundle, True, keeps_others=True)
