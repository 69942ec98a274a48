"""Checkpoints at the published size: the published layout without writing it, and the writing in miniature."""

import json
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hyperseg_export.checkpoint.random_weights import RandomCheckpoint
from hyperseg_export.checkpoint.shards import shards_of
from hyperseg_export.families.hyperseg.layout import Sizes, tensor_layout
from hyperseg_export.families.hyperseg.tiny import MADE, TINY
from hyperseg_export.families.mask_queries import made_checkpoints
from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_export.jobs.progress import Silent
from hyperseg_export.opening import open_checkpoint
from hyperseg_export.synthetic import PRESETS, make_synthetic
from hyperseg_runtime.errors import InputError, OutputError, ResourceError

PUBLISHED_GB = (4.992, 1.935)
"""hyperseg-spec 11."""


@pytest.fixture
def miniature(monkeypatch: pytest.MonkeyPatch) -> str:
    """A preset of the first family at the size of `make-tiny`, in several shards."""
    monkeypatch.setattr(made_checkpoints, "shards_of", lambda layout: shards_of(layout, 2_500_000))
    monkeypatch.setitem(PRESETS, "miniature", MADE.preset("miniature", "in miniature", TINY))
    return "miniature"


def test_the_published_size_has_the_published_shards() -> None:
    shards = shards_of(tensor_layout(Sizes()))
    assert tuple(shard.size_bytes / 1e9 for shard in shards) == pytest.approx(PUBLISHED_GB, abs=0.1)
    assert sum(len(shard.layout) for shard in shards) == 1636
    half = replace(Sizes(), layers=16)
    assert PRESETS["hyperseg-3b"].size_bytes(16) == sum(shard.size_bytes for shard in shards_of(tensor_layout(half)))


def test_every_family_has_a_preset() -> None:
    assert all(family.presets for family in EXPORT_FAMILIES.values())
    assert len(PRESETS) == sum(len(family.presets) for family in EXPORT_FAMILIES.values())


def test_it_is_a_checkpoint_of_the_same_bytes_each_time(miniature: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert make_synthetic(tmp_path / name, miniature, seed=3, layers=1) > 1_000_000
    model = open_checkpoint(tmp_path / "a").model
    assert not model.key_map.dropped.keys() & {"model.layers.0.mlp.fc1.weight"}
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    index = json.loads(files["model.safetensors.index.json"])["weight_map"]
    assert len(set(index.values())) > 2 and "model.layers.1.mlp.fc1.weight" not in index


class _Killed(Silent):
    """Ends the program in the second file, and remembers what was said."""

    def __init__(self, dies: bool) -> None:
        self.dies = dies
        self.notes: list[str] = []
        self.files = 0

    def stage(self, name: str, index: int, count: int) -> None:
        self.files = index

    def phase(self, name: str, step: int, steps: int) -> None:
        if self.dies and self.files == 2 and step == 3:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_killed_call_goes_on_at_its_file(miniature: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_synthetic(tmp_path / "out", miniature, progress=_Killed(dies=True))
    assert not (tmp_path / "out").exists()
    again = _Killed(dies=False)
    make_synthetic(tmp_path / "out", miniature, progress=again)
    assert len(again.notes) == 1 and again.notes[0].startswith("model-00001-of-")
    make_synthetic(tmp_path / "whole", miniature)
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_tensors_are_made_when_their_turn_comes(
    miniature: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than the one being written and the one before it are held: memory does not grow with the checkpoint."""
    made: list[weakref.ref[torch.Tensor]] = []
    make = RandomCheckpoint.tensor

    def counted(self: RandomCheckpoint, name: str) -> torch.Tensor:
        assert sum(reference() is not None for reference in made) <= 1
        tensor = make(self, name)
        made.append(weakref.ref(tensor))
        return tensor

    monkeypatch.setattr(RandomCheckpoint, "tensor", counted)
    make_synthetic(tmp_path / "out", miniature, layers=1)
    assert len(made) > 100


def test_mistakes_say_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="unknown preset 'huge'; choose hyperseg-3b"):
        make_synthetic(tmp_path / "a", "huge")
    with pytest.raises(InputError, match="no stack whose layers"):
        make_synthetic(tmp_path / "a", "unilseg", layers=1)
    for layers in (2, 33):
        with pytest.raises(InputError, match=f"has 32 blocks: expected --layers 3 to 32, got {layers}"):
            make_synthetic(tmp_path / "a", "hipie-vit-h", layers=layers)
    tmp_path.joinpath("there").mkdir()
    with pytest.raises(OutputError, match="exists"):
        make_synthetic(tmp_path / "there", "unilseg")
    monkeypatch.setattr("hyperseg_export.jobs.staging.shutil.disk_usage", lambda path: type("", (), {"free": 10**6}))
    with pytest.raises(ResourceError, match=r"it takes about 7\.0 GB"):
        make_synthetic(tmp_path / "a", "hyperseg-3b")
    assert list(tmp_path.iterdir()) == [tmp_path / "there"]
