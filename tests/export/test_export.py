"""A bundle appears whole or not at all, goes on after a crash, and holds what it says."""

import hashlib
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.weights import ModuleWeights
from hyperseg_export.comparison import CALLS
from hyperseg_export.export import ExportOptions, export_bundle, installed_libraries
from hyperseg_export.jobs import staging as steps
from hyperseg_export.jobs.staging import Staging
from hyperseg_export.onnx.weight_store import Location, WeightFile
from hyperseg_export.opening import open_checkpoint
from hyperseg_export.parity import bundle as parity_bundle
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import CheckpointError, HypersegError, InputError, OutputError, ParityError, ResourceError
from hyperseg_runtime.reports import machine
from support import PROGRAM, small_files_only


@pytest.fixture
def overwritten(fewest_graphs: Path, unfinished: Path) -> Path:
    """A bundle, parity not measured, written over an older one."""
    unfinished.mkdir()
    (unfinished / "stale.txt").write_text("old")
    (unfinished / "manifest.json").write_text('{"format_version": 0, "files": {"stale.txt": {}}}')
    export_bundle(fewest_graphs, unfinished, ExportOptions(overwrite=True, measure_parity=False))
    return unfinished


def test_the_manifest_tells_the_whole_story(tiny_bundle: Path, tiny_checkpoint: Path) -> None:
    manifest = Bundle.open(tiny_bundle).manifest
    on_disk = {str(path.relative_to(tiny_bundle)) for path in tiny_bundle.rglob("*") if path.is_file()}
    assert on_disk == {*manifest.files, "manifest.json"}
    coverage = manifest.coverage
    accounted = coverage.loaded_bytes + coverage.checked_bytes + sum(coverage.unused_bytes.values())
    checkpoint = Checkpoint.open(tiny_checkpoint)
    assert accounted == sum(checkpoint.bytes_of(name) for name in checkpoint.shapes)
    assert manifest.provenance.checkpoint_sha256 == checkpoint.fingerprint()
    assert manifest.parity is not None
    outputs = {(graph.spec.name, name) for graph in manifest.graphs for name in graph.spec.output_names()}
    assert {(entry.graph, entry.output) for entry in manifest.parity} == outputs
    assert all(entry.passed for entry in manifest.parity)


def test_equal_tensors_are_stored_once(tiny_bundle: Path) -> None:
    """Across all graphs: no two ranges of the data files hold the same bytes."""
    seen: dict[str, tuple[str, int]] = {}
    for path in sorted((tiny_bundle / "graphs").glob("*.onnx")):
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            place = {entry.key: entry.value for entry in tensor.external_data}
            if place:
                offset, length = int(place["offset"]), int(place["length"])
                data = (tiny_bundle / "graphs" / place["location"]).read_bytes()[offset : offset + length]
                where = (place["location"], offset)
                assert seen.setdefault(hashlib.sha256(data).hexdigest(), where) == where
    assert len(seen) > 100


@pytest.mark.slow
def test_a_killed_export_continues(fewest_graphs: Path, overwritten: Path, tmp_path: Path) -> None:
    """kill -9 in mid export; the next call keeps the finished steps and ends with the same files as any other."""
    target = tmp_path / "killed" / "bundle"
    arguments = command(fewest_graphs, target, "--skip-parity")
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(target.parent / ".bundle.partial" / ".steps" / "image_encoder.json", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    again = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "image_encoder: finished earlier, kept" in again.stderr
    assert Bundle.open(target).manifest.files == Bundle.open(overwritten).manifest.files
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


@pytest.mark.slow
def test_an_export_goes_on_inside_a_graph(
    fewest_graphs: Path, overwritten: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after four weights of a graph: they are not made again, and its files are as ever."""
    real, finished = WeightFile.add, tmp_path / ".bundle.partial" / ".steps" / "text.json"

    def added_until(enough: Callable[[list[str]], bool]) -> set[str]:
        added = list[str]()

        def add(self: WeightFile, array: np.ndarray, name: str = "") -> Location:
            if enough(added):
                raise KeyboardInterrupt
            added.append(name)
            return real(self, array, name)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(WeightFile, "add", add)
            export_bundle(fewest_graphs, tmp_path / "bundle", ExportOptions(measure_parity=False))
        return set(added)

    first = added_until(lambda added: len(added) == 4)
    assert not finished.exists()
    again = added_until(lambda added: finished.exists())
    assert first and again and not first & again
    for name in ("text.onnx", "text.data"):
        made = finished.parent.parent / "graphs" / name
        assert made.read_bytes() == (overwritten / "graphs" / name).read_bytes()


@pytest.mark.slow
def test_an_overwritten_bundle_is_replaced_whole(overwritten: Path) -> None:
    assert not (overwritten / "stale.txt").exists()
    assert [path.name for path in overwritten.parent.iterdir()] == ["bundle"]
    assert Bundle.open(overwritten).manifest.parity is None  # not measured is recorded as such


def test_a_folder_that_is_no_bundle_is_not_replaced(fewest_graphs: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("mine")
    with pytest.raises(OutputError, match="holds neither a bundle nor a checkpoint; it is not replaced"):
        export_bundle(fewest_graphs, tmp_path, ExportOptions(overwrite=True))
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize("place", [".", ".."])
def test_a_checkpoint_is_not_replaced_by_its_bundle(checkpoint_copy: Path, place: str) -> None:
    before = sorted(checkpoint_copy.iterdir())
    with pytest.raises(InputError, match="it would take the place of"):
        export_bundle(checkpoint_copy, checkpoint_copy / place, ExportOptions(overwrite=True))
    assert sorted(checkpoint_copy.iterdir()) == before


def test_a_disk_that_fills_up_leaves_nothing(fewest_graphs: Path, tmp_path: Path) -> None:
    """The operating system refuses to grow files beyond 200 kB, in the middle of the first graph's weights."""
    result = subprocess.run(
        command(fewest_graphs, tmp_path / "new" / "bundle"), capture_output=True, text=True, preexec_fn=small_files_only
    )
    assert result.returncode == 7, result.stderr
    assert "no room left on the disk" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_noticed_before_the_work(
    fewest_graphs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps.shutil, "disk_usage", lambda path: usage(free=1_000_000))
    with pytest.raises(ResourceError, match=r"takes about 0\.2 GB, the disk has 0\.0 GB free"):
        export_bundle(fewest_graphs, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_the_target_must_be_new_and_writable(fewest_graphs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        export_bundle(fewest_graphs, tmp_path / "file" / "bundle")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="--overwrite"):
        export_bundle(fewest_graphs, tmp_path / "taken")


def test_a_graph_that_differs_from_its_module_is_not_shipped(
    fewest_graphs: Path, unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is finished stays: nothing of it has to be made again to have it without the comparison."""
    real = parity_bundle.streamed

    class Disturbed:
        def __init__(self, values: ModuleWeights) -> None:
            self._values = values

        def __getitem__(self, name: str) -> torch.Tensor:
            value = self._values[name]
            return value * 1.01 if value.is_floating_point() else value

    with monkeypatch.context() as patch:
        patch.setattr(parity_bundle, "streamed", lambda module, values, *told: real(module, Disturbed(values), *told))
        with pytest.raises(ParityError, match=r"no bundle was written; the graphs are kept in .*--skip-parity"):
            export_bundle(fewest_graphs, unfinished)
    assert [path.name for path in unfinished.parent.iterdir()] == [".bundle.partial"]
    graphs = unfinished.parent / ".bundle.partial" / "graphs"
    written = {path.name: path.stat().st_mtime_ns for path in graphs.iterdir()}
    export_bundle(fewest_graphs, unfinished, ExportOptions(measure_parity=False))
    assert {path.name: path.stat().st_mtime_ns for path in (unfinished / "graphs").iterdir()} == written


def test_context_decides_the_cache(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (llm,) = (spec for spec in open_checkpoint(tiny_checkpoint, context=300).model.specs if spec.name == "llm")
    cache = next(tensor for tensor in llm.inputs if tensor.name == "past_key.0")
    assert cache.axes[2] == 300
    with pytest.raises(CheckpointError, match="512"):
        export_bundle(tiny_checkpoint, tmp_path / "other", ExportOptions(context=513))


def test_tables_are_the_checkpoints_own(tiny_bundle: Path, tiny_checkpoint: Path) -> None:
    stored = Checkpoint.open(tiny_checkpoint).tensor("model.embed_tokens.weight").numpy()
    table = np.load(tiny_bundle / "tables" / "tokens.npy")
    assert table.dtype == np.float16  # as stored: half the room, and widening is exact
    assert np.array_equal(table, stored)


def test_versions_are_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime for GPUs comes in a package of its own, and neither is needed where parity is skipped."""
    there = {"hyperseg-trt": "0.1.0", "onnxruntime-gpu": "1.31.1"}
    monkeypatch.setattr(machine, "installed", lambda name: there.get(name, machine.MISSING))
    assert installed_libraries() == there


def test_errors_are_ours(tmp_path: Path) -> None:
    with pytest.raises(HypersegError, match="no such folder"):
        export_bundle(tmp_path / "nothing", tmp_path / "bundle")


def command(checkpoint: Path, target: Path, *options: object) -> list[str]:
    return [*PROGRAM, "export", str(checkpoint), str(target), *map(str, options)]


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        assert process.poll() is None, "the export ended before it could be killed"
        time.sleep(0.02)


def usage(free: int) -> object:
    return type("usage", (), {"free": free})()


def test_what_a_killed_comparison_left_is_removed_first(fewest_graphs: Path, tmp_path: Path) -> None:
    """It may fill the disk, and is no work that is kept."""
    left = tmp_path / ".bundle.partial" / f"{CALLS}old" / "text.000"
    left.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Staging, "require_room", interrupted)
        export_bundle(fewest_graphs, tmp_path / "bundle")
    assert [path.name for path in (tmp_path / ".bundle.partial").iterdir()] == [steps.RECORDS]


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt
