"""The tiny checkpoint on disk: the released layout, weights that hide nothing, masks that say something."""

from pathlib import Path

import pytest
import torch

from hyperseg_export.checkpoint.folder import CONFIG
from hyperseg_export.checkpoint.key_map import check_equal
from hyperseg_export.checkpoint.pickle_file import PREFIX, STATE_DICT, PickleCheckpoint
from hyperseg_export.families.unilseg.config import UnilsegConfig
from hyperseg_export.families.unilseg.definition import definition_of
from hyperseg_export.families.unilseg.layout import tensor_layout
from hyperseg_export.families.unilseg.random_models import RANDOM
from hyperseg_export.families.unilseg.tiny import FILE, TINY, random_checkpoint
from hyperseg_export.model import bind_model
from hyperseg_export.parity.bundle import module_of

MIXED = "relative_position_index"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("unilseg")
    RANDOM.write(path, "tiny", seed=0)
    return path


def test_the_file_is_laid_out_as_the_release_is(folder: Path) -> None:
    stored = torch.load(folder / FILE, weights_only=True)
    assert list(stored) == [STATE_DICT]
    found = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in stored[STATE_DICT].items()}
    assert found == {f"{PREFIX}{name}": (shape, dtype) for name, shape, dtype in tensor_layout(TINY)}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20_000_000
    assert {path.name for path in folder.iterdir()} == {FILE, CONFIG}


def test_it_is_understood(folder: Path) -> None:
    checkpoint = PickleCheckpoint.open(folder)
    config = UnilsegConfig.from_checkpoint(checkpoint.config, checkpoint.shapes)
    check_equal(bind_model("unilseg", definition_of(config, {}), checkpoint).key_map, checkpoint)
    assert config.image_px == TINY.image_px


def test_weights_are_those_made_on_demand_and_none_is_zero(folder: Path) -> None:
    checkpoint, on_demand = PickleCheckpoint.open(folder), random_checkpoint(TINY, seed=0)
    for name in checkpoint.names:
        assert torch.equal(checkpoint.tensor(name), on_demand.tensor(name)), name
        assert MIXED in name or checkpoint.tensor(name).all(), name
        assert not name.endswith("running_var") or (checkpoint.tensor(name) > 0).all(), name


@pytest.mark.parametrize("seed", range(3))
def test_masks_cover_a_part_of_the_image_and_follow_the_sentence(seed: int) -> None:
    source = random_checkpoint(TINY, seed)
    model = bind_model(
        "unilseg", definition_of(UnilsegConfig.from_checkpoint(TINY.config(), source.shapes), {}), source
    )
    start, end = TINY.token_rows - 2, TINY.token_rows - 1
    ids = torch.zeros(2, TINY.words, dtype=torch.int64)
    ids[0, :3] = torch.tensor([start, 1929, end])
    ids[1, :5] = torch.tensor([start, 320, 736, 2523, end])
    image = torch.randn(1, 3, TINY.image_px, TINY.image_px, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        words, states = module_of(model, "text")(ids)
        maps = [x.expand(2, -1, -1, -1) for x in module_of(model, "image_encoder")(image)]
        logits, _ = module_of(model, "mask_decoder")(*maps, words, states, ids != 0)
    masks = logits[:, 0] > 0
    share = masks.float().mean((1, 2))
    assert (share > 0.05).all() and (share < 0.95).all(), share
    overlap = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
    assert overlap < 0.95
