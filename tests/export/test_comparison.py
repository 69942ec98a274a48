"""Comparing in a process of its own gives the same rows, and its death is told with its cause and loses nothing."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperseg_export import comparison
from hyperseg_export.export import ExportOptions, export_bundle
from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_export.jobs.progress import Silent
from hyperseg_export.opening import open_checkpoint
from hyperseg_export.parity.bundle import needed_bytes, saved_bytes
from hyperseg_export.samples import sample_images
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import ResourceError
from hyperseg_runtime.families import FAMILIES
from support import FIRST_FAMILY

pytestmark = pytest.mark.slow  # a whole bundle is compared in processes that are killed


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def stage(self, name: str, index: int, count: int) -> None:
        self.lines.append(name)

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything counts as large."""
    monkeypatch.setattr(comparison, "APART_FROM_BYTES", 0)
    yield


@pytest.mark.usefixtures("apart")
def test_another_process_finds_the_same(tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    bundle, told = Bundle.read(tiny_bundle), Told()
    found = comparison.compare_bundle(bundle, open_checkpoint(tiny_checkpoint), sample_images(), tmp_path, told)
    assert bundle.manifest.parity == found
    assert "comparing graphs with modules takes about 0." in told.lines[0] and "are free" in told.lines[0]
    assert told.lines[-1] == f"parity: {bundle.manifest.graphs[-1].spec.name}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("apart")
def test_a_comparison_that_is_killed_says_what_it_needed_and_loses_no_graph(
    fewest_graphs: Path, unfinished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "killed_worker.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(comparison, "WORKER", "killed_worker")
    with pytest.raises(ResourceError, match=r"parity was killed, .*memory ran out; it needs about \d\.\d GB of memory"):
        export_bundle(fewest_graphs, unfinished)
    told = Told()
    export_bundle(fewest_graphs, unfinished, ExportOptions(measure_parity=False), told)
    specs = Bundle.open(unfinished).manifest.graphs
    assert [line for line in told.lines if "finished earlier" in line] == [
        *(f"{graph.spec.name}: finished earlier, kept" for graph in specs),
        "host files: finished earlier, kept",
    ]


def test_a_disk_that_cannot_hold_the_calls_is_noticed_before(
    tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison.shutil, "disk_usage", lambda path: type("usage", (), {"free": 1000}))
    opened = open_checkpoint(tiny_checkpoint)
    with pytest.raises(
        ResourceError, match=r"comparing takes about 0\.\d GB of disk for a while, there are 0\.0 GB free"
    ):
        comparison.compare_bundle(Bundle.read(tiny_bundle), opened, sample_images(), tmp_path, Silent())


def test_the_published_model_fits_a_small_machine() -> None:
    """From contracts and shapes alone: 2.8 billion parameters of the language model are there one layer at a time."""
    full = EXPORT_FAMILIES[FIRST_FAMILY].random.model("full", 0)
    specs = FAMILIES[FIRST_FAMILY].graph_specs(FAMILIES[FIRST_FAMILY].published)
    published = dataclasses.replace(full, specs=specs)
    assert needed_bytes(published) < 6e9
    assert 1e9 < saved_bytes(published, 2) < 10e9
