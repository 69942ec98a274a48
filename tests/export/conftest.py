"""How the exporter's tests use the machine, and a small model with adapters for it."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from support import PROGRAM, made_once


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Two workers with two spinning threads each make small operations a hundred times slower on two cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_checkpoint(shared_dir: Path) -> Path:
    """A checkpoint that exports in a few seconds; read only."""
    from adapters import SMALL
    from hyperseg_export.families.hyperseg.tiny import MADE

    def make(folder: Path) -> None:
        folder.mkdir()
        MADE.write(folder, SMALL, seed=1)

    return made_once(shared_dir / "small", make)


@pytest.fixture(scope="session")
def fewest_graphs(shared_dir: Path) -> Path:
    """A checkpoint of the fewest graphs, one layer of everything; read only."""
    from hyperseg_export.families.registry import EXPORT_FAMILIES

    def make(folder: Path) -> None:
        folder.mkdir()
        EXPORT_FAMILIES["unilseg"].random.write(folder, "small", 1)

    return made_once(shared_dir / "fewest", make)


@pytest.fixture
def unfinished(shared_dir: Path, fewest_graphs: Path, tmp_path: Path) -> Path:
    """Where an export of `fewest_graphs` goes on: its graphs are there, its comparison was stopped."""
    from hyperseg_export import export

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(export, "compare_bundle", stopped)
            export.export_bundle(fewest_graphs, folder / "bundle")

    shutil.copytree(made_once(shared_dir / "unfinished", make), tmp_path / "exports")
    return tmp_path / "exports" / "bundle"


@pytest.fixture(scope="session")
def adapters(shared_dir: Path) -> Path:
    """A folder with one adapter for `small_checkpoint` per entry of ADAPTERS; read only."""
    from adapters import ADAPTERS, write_adapter

    def make(folder: Path) -> None:
        for seed, (name, options) in enumerate(ADAPTERS.items()):
            write_adapter(folder / name, seed, options)

    return made_once(shared_dir / "adapters", make)


@pytest.fixture(scope="session")
def kept_bundle(shared_dir: Path, small_checkpoint: Path, adapters: Path) -> Path:
    """The bundle of `small_checkpoint` with the adapter "first" kept apart, as a user exports it; read only."""
    options = ("--adapter", adapters / "first", "--keep-adapter")

    def make(folder: Path) -> None:
        subprocess.run([*PROGRAM, "export", small_checkpoint, folder, *options], check=True)

    return made_once(shared_dir / "kept", make)


@pytest.fixture(scope="session")
def merged_bundle(shared_dir: Path, small_checkpoint: Path, adapters: Path, kept_bundle: Path) -> Path:
    """The same with the adapter merged, parity of the language model not measured; read only."""
    from adapters import with_llm
    from hyperseg_export.opening import open_checkpoint

    opened = open_checkpoint(small_checkpoint, adapters / "first")
    return made_once(shared_dir / "merged", lambda folder: with_llm(kept_bundle, folder, opened.model, None))
