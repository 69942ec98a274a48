"""The tiny checkpoint on disk: the released layout, tensors of several names stored once, weights that hide nothing."""

from pathlib import Path

import pytest
import torch

from hyperseg_export.checkpoint.folder import CONFIG
from hyperseg_export.checkpoint.key_map import check_equal
from hyperseg_export.checkpoint.pickle_file import PickleCheckpoint
from hyperseg_export.families.hipie.config import HipieConfig
from hyperseg_export.families.hipie.definition import definition_of
from hyperseg_export.families.hipie.layout import second_names, tensor_layout
from hyperseg_export.families.hipie.random_models import RANDOM
from hyperseg_export.families.hipie.tiny import FILE, MODEL, TINY, TiedCheckpoint
from hyperseg_export.model import bind_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hipie")
    RANDOM.write(path, "tiny", seed=0)
    return path


def test_the_file_is_laid_out_as_the_release_is(folder: Path) -> None:
    stored = torch.load(folder / FILE, weights_only=True)
    assert list(stored) == [MODEL]
    assert {name: tuple(tensor.shape) for name, tensor in stored[MODEL].items()} == dict(tensor_layout(TINY))
    assert {tensor.dtype for tensor in stored[MODEL].values()} == {torch.float32}
    assert {path.name for path in folder.iterdir()} == {FILE, CONFIG}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20_000_000
    for name, first in second_names(TINY).items():
        assert stored[MODEL][name].data_ptr() == stored[MODEL][first].data_ptr()


def test_it_is_understood(folder: Path) -> None:
    checkpoint = PickleCheckpoint.open(folder)
    config = HipieConfig.from_checkpoint(checkpoint.config, checkpoint.shapes)
    check_equal(bind_model("hipie", definition_of(config, {}), checkpoint).key_map, checkpoint)
    dims = config.dimensions()
    assert (dims.short_px, dims.long_px, dims.queries) == (128, 256, 23)


def test_weights_are_those_made_on_demand_and_none_is_zero(folder: Path) -> None:
    checkpoint, on_demand = PickleCheckpoint.open(folder), TiedCheckpoint(TINY, seed=0)
    for name in checkpoint.names:
        assert torch.equal(checkpoint.tensor(name), on_demand.tensor(name)), name
        assert checkpoint.tensor(name).all(), name
        assert not name.endswith("running_var") or (checkpoint.tensor(name) > 0).all(), name
