"""Another adapter in a bundle: the same as exporting with it, whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from adapters import edit_factors
from hyperseg_export.adapters import swap
from hyperseg_export.adapters.slots import keep_apart
from hyperseg_export.adapters.swap import swap_adapter
from hyperseg_export.checkpoint.lora import ADAPTER_CONFIG, AdapterFolder
from hyperseg_export.export import write_graph
from hyperseg_export.jobs.progress import Silent
from hyperseg_export.opening import open_checkpoint
from hyperseg_export.parity import entries as parity_entries
from hyperseg_export.verify import verify_bundle
from hyperseg_runtime import Pipeline
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle, describe_file
from hyperseg_runtime.errors import (
    BundleError,
    CheckpointError,
    HypersegError,
    InputError,
    OutputError,
    ParityError,
    ResourceError,
)

ADAPTER_DATA = "graphs/llm.adapter.data"


@pytest.fixture
def bundle(kept_bundle: Path, tmp_path: Path) -> Path:
    """A bundle to swap in."""
    return Path(shutil.copytree(kept_bundle, tmp_path / "bundle"))


def test_a_swap_gives_what_an_export_gives(
    bundle: Path, small_checkpoint: Path, adapters: Path, tmp_path: Path
) -> None:
    """No other graph knows of the adapter."""
    swapped = swap_adapter(bundle, adapters / "second")
    opened = open_checkpoint(small_checkpoint, adapters / "second")
    kept = keep_apart(opened.model, opened.checkpoint)
    files, _ = write_graph(kept.model, swapped.graph("llm").spec, tmp_path, {}, kept=kept)
    assert {name: describe_file(tmp_path / name) for name in files} == {name: swapped.files[name] for name in files}
    assert ADAPTER_DATA in files
    assert swapped.adapter == kept.entry
    assert swapped.provenance.adapter_sha256 == opened.checkpoint.adapter_sha256
    assert Bundle.open(bundle).manifest == swapped
    assert swapped.parity is None  # what was measured was another adapter


def test_only_the_factors_and_the_manifest_change(bundle: Path, adapters: Path) -> None:
    (bundle / "engines" / "sm90").mkdir(parents=True)
    (bundle / "engines" / "sm90" / "llm.plan").write_bytes(b"what a build left here")
    before = contents(bundle)
    swap_adapter(bundle, adapters / "second")
    after = contents(bundle)
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {ADAPTER_DATA, "manifest.json"}
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]
    assert all(path.stat().st_nlink == 1 for path in bundle.rglob("*") if path.is_file())


def test_parity_is_measured_with_the_checkpoint(
    bundle: Path, small_checkpoint: Path, adapters: Path, coffee: Path
) -> None:
    """A lower rank, on some layers only: the rest of each slot is zero."""
    manifest = swap_adapter(bundle, adapters / "low", small_checkpoint)
    assert manifest.adapter is not None and [slot.rank for slot in manifest.adapter.slots] == [0, 0, 0, 2]
    assert manifest.parity is not None and all(entry.passed for entry in manifest.parity)
    assert {entry.graph for entry in manifest.parity} == {graph.spec.name for graph in manifest.graphs}
    assert Bundle.open(bundle).manifest == manifest
    with pytest.raises(CheckpointError, match="is not what the bundle was made from"):
        verify_bundle(bundle, small_checkpoint, adapters / "first", [coffee], Silent())


def test_there_and_back_again(bundle: Path, adapters: Path, coffee: Path) -> None:
    original = contents(bundle)[ADAPTER_DATA]
    first = scores(bundle, coffee)
    swap_adapter(bundle, adapters / "low")
    assert not np.allclose(scores(bundle, coffee), first)
    swap_adapter(bundle, adapters / "first")
    assert contents(bundle)[ADAPTER_DATA] == original  # nothing of the other one is left
    assert np.array_equal(scores(bundle, coffee), first)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("high", "rank 5 for model.layers.0.self_attn.q_proj.weight, the bundle has room for rank 4"),
        ("other", "it changes model.layers.0.mlp.fc1.weight, for which the bundle has no slot"),
        ("narrow", r"of shape \(79, 80\), the bundle's has \(80, 80\); it belongs to another model"),
        ("absent", "adapter_config.json is missing"),
        ("empty", "it holds no tensors"),
        ("wrong rank", "says rank 8, the tensors have 4"),
    ],
)
def test_an_adapter_that_does_not_fit_changes_nothing(
    bundle: Path, adapters: Path, tmp_path: Path, name: str, message: str
) -> None:
    folder = adapters / name
    if name in ("narrow", "empty", "wrong rank"):
        folder = Path(shutil.copytree(adapters / "first", tmp_path / "adapter"))
    if name == "narrow":
        edit_factors(folder, lambda key, tensor: (key, tensor[:79] if "lora_B" in key else tensor))
    elif name == "empty":
        edit_factors(folder, lambda key, tensor: (key, tensor), keep=lambda key: False)
    elif name == "wrong rank":
        config = json.loads((folder / ADAPTER_CONFIG).read_text())
        (folder / ADAPTER_CONFIG).write_text(json.dumps({**config, "r": 8}))
    unchanged(bundle, CheckpointError, message, folder)


def test_a_bundle_without_room_for_adapters_is_explained(
    merged_bundle: Path, tiny_bundle: Path, adapters: Path, tmp_path: Path
) -> None:
    for source, why in ((merged_bundle, "its adapter is merged"), (tiny_bundle, "it was exported without one")):
        with pytest.raises(InputError, match=rf"keeps no adapter apart .*\({why}\); export it with --keep-adapter"):
            swap_adapter(source, adapters / "first")
    with pytest.raises(BundleError, match="no such folder"):
        swap_adapter(tmp_path / "nothing", adapters / "first")


def test_a_damaged_bundle_stays_as_it_is(bundle: Path, adapters: Path) -> None:
    with (bundle / "graphs" / "llm.data").open("r+b") as file:
        file.write(b"damage")
    unchanged(bundle, BundleError, r"the content of graphs/llm\.data differs", adapters / "second")


def test_a_swap_that_fails_parity_is_not_made(
    bundle: Path, small_checkpoint: Path, adapters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity_entries, "tolerance_of", lambda output: 1e-12)
    unchanged(bundle, ParityError, "the bundle keeps its old adapter", adapters / "second", small_checkpoint)


def test_a_checkpoint_of_another_bundle_is_refused(bundle: Path, tiny_checkpoint: Path, adapters: Path) -> None:
    message = "is not what the bundle was made from"
    unchanged(bundle, CheckpointError, message, adapters / "second", tiny_checkpoint)


@pytest.mark.parametrize(
    ("code", "error"), [("EMLINK", OutputError), ("EPERM", OutputError), ("ENOSPC", ResourceError)]
)
def test_a_file_system_that_refuses_is_explained(
    bundle: Path, adapters: Path, monkeypatch: pytest.MonkeyPatch, code: str, error: type[HypersegError]
) -> None:
    def refuse(source: Path, target: Path) -> None:
        number = getattr(errno, code)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(swap.os, "link", refuse)
    unchanged(bundle, error, r"bundle\.swap", adapters / "second")


def test_a_link_to_a_bundle_stays_a_link(bundle: Path, adapters: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle)
    swap_adapter(tmp_path / "link", adapters / "second")
    assert (tmp_path / "link").is_symlink()
    assert Bundle.open(bundle).manifest.provenance.adapter_sha256 == AdapterFolder.open(adapters / "second").sha256


KILLED_EVERYWHERE = """
import os, sys
from pathlib import Path
from hyperseg_export.opening import open_checkpoint
from hyperseg_export.adapters.swap import swap_adapter
from hyperseg_runtime.bundle.opening import Bundle

bundle, adapters = Path(sys.argv[1]), [Path(path) for path in sys.argv[2:]]
CHANGES = {"open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "ctypes.dlsym", "fcntl.flock"}
left = -1

def hook(event, arguments):
    global left
    if left >= 0 and event in CHANGES:
        left -= 1
        if left < 0:
            os._exit(9)

sys.addaudithook(hook)
states, survived = [], 0
for index in range(10_000):
    child = os.fork()
    if child == 0:
        left = index
        swap_adapter(bundle, adapters[len(states) % 2])
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    states.append(Bundle.open(bundle).manifest.provenance.adapter_sha256)
    if code == 0:
        survived += 1
        if survived == 2:
            break
    else:
        assert code == 9, code
print(*states)
"""


def test_a_swap_killed_at_any_moment_leaves_the_old_or_the_new_bundle(bundle: Path, adapters: Path) -> None:
    """The process dies before its first change to the file system, its second and so on; the bundle is then
    opened, all hashes checked, and the next swap starts from what was left."""
    two = [adapters / name for name in ("second", "first")]
    arguments = [sys.executable, "-c", KILLED_EVERYWHERE, bundle, *two]
    states = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()
    assert len(states) > 50
    assert set(states) == {AdapterFolder.open(folder).sha256 for folder in two}
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]  # the last swap cleaned up


def unchanged(bundle: Path, error: type[HypersegError], message: str, *arguments: Path) -> None:
    """The swap is refused and leaves no trace."""
    before = contents(bundle)
    with pytest.raises(error, match=message):
        swap_adapter(bundle, *arguments)
    assert contents(bundle) == before
    assert not [path for path in bundle.parent.iterdir() if path.name.startswith(".")]


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def scores(bundle: Path, image: Path) -> np.ndarray:
    with Pipeline.load(bundle, OnnxRuntimeBackend(threads=1)) as pipeline:
        return np.asarray(pipeline(image, "the cup").score)
