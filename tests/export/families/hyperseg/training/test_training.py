"""A few steps of a very small model: losses fall, stopping changes nothing, and what comes out is a checkpoint."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperseg_bench.quality.datasets.shapes.scene import make_scene
from hyperseg_export.checkpoint.folder import Checkpoint
from hyperseg_export.checkpoint.tokenizer_files import load_tokenizer
from hyperseg_export.export import ExportOptions, export_bundle
from hyperseg_export.families.hyperseg.layout import Sizes, tensor_layout
from hyperseg_export.families.hyperseg.training.network import Network
from hyperseg_export.families.hyperseg.training.reading import expression_prompts, read_together
from hyperseg_export.families.hyperseg.training.recipe import (
    CLIP_ENCODER_STAGE,
    IMAGE_ENCODER_STAGE,
    LANGUAGE_STAGE,
    MASKS_STAGE,
    TOGETHER_STAGE,
    VISION_STAGE,
    Recipe,
    with_vocabulary,
)
from hyperseg_export.families.hyperseg.training.run import Training
from hyperseg_export.families.hyperseg.training.targets import network_inputs
from hyperseg_export.families.hyperseg.training.trainer import LOG, STATE, finished_stages
from hyperseg_export.families.hyperseg.training.vocabulary import Vocabulary
from hyperseg_export.families.hyperseg.training.writing import start_from, write_trained
from hyperseg_export.opening import open_checkpoint
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import CheckpointError, InputError, OutputError
from hyperseg_runtime.families.hyperseg.prompts import Task
from hyperseg_runtime.heads.referring import best_query
from hyperseg_runtime.images.preprocessing import longest_side_square
from hyperseg_runtime.llm.prompt import SlotKind
from hyperseg_runtime.session.pipeline import Pipeline

SMALL = Sizes(
    image_px=64, context=384, width=32, mlp_width=32, layers=1, heads=2, max_positions=512, clip_width=24,
    clip_mlp_width=24, clip_layers=2, clip_heads=2, clip_image_px=40, clip_patch_px=10, swin_width=8,
    swin_depths=(1, 1, 1, 1), swin_heads=(1, 2, 2, 2), swin_window=4, perceiver_width=16, perceiver_heads=2,
    perceiver_queries=4, mask_width=32, mask_heads=2, mask_mlp_width=32, mask_layers=1, mask_queries=2, pixel_layers=1,
    pixel_mlp_width=32,
)  # fmt: skip
RECIPE = Recipe(
    sizes=SMALL,
    scenes=8,
    language_scenes=4,
    image_encoder=replace(IMAGE_ENCODER_STAGE, steps=4, warmup=1, rate=5e-3),
    image_encoder_batch=2,
    clip_encoder=replace(CLIP_ENCODER_STAGE, steps=4, warmup=1, rate=5e-3),
    clip_encoder_batch=2,
    vision=replace(VISION_STAGE, steps=6, warmup=1, rate=5e-3),
    vision_batch=2,
    language=replace(LANGUAGE_STAGE, steps=6, warmup=1, rate=5e-3),
    masks=replace(MASKS_STAGE, steps=4, warmup=1),
    language_batch=2,
    expressions=2,
    questions_batch=2,
    questions=2,
    together=replace(TOGETHER_STAGE, steps=2, warmup=1),
    together_batch=2,
)


def train(folder: Path, recipe: Recipe = RECIPE) -> dict[str, list[Mapping[str, float]]]:
    """The losses that were told, by stage."""
    folder.mkdir(exist_ok=True)
    told: dict[str, list[Mapping[str, float]]] = {}
    training = Training(folder, recipe, lambda stage, step, steps, means: told.setdefault(stage, []).append(means))
    training.save_every_s, training.report_every = 0, 1
    training.run()
    return told


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[Mapping[str, float]]]]:
    folder = tmp_path_factory.mktemp("training")
    return folder, train(folder)


def tensors(folder: Path) -> dict[str, Tensor]:
    state = torch.load(folder / STATE, weights_only=True)
    return {**state["tensors"], **{f"auxiliary {name}": value for name, value in state["auxiliaries"].items()}}


def test_losses_fall(trained: tuple[Path, dict[str, list[Mapping[str, float]]]]) -> None:
    _, told = trained
    for stage, losses in (
        ("image_encoder", ("res3",)),
        ("clip_encoder", ("image_tokens",)),
        ("vision", ("mask_features", "masks")),
        ("language", ("query_code", "answers")),
    ):
        for loss in losses:
            assert told[stage][-1][loss] < told[stage][0][loss]


def test_all_stages_are_behind_and_the_log_has_a_line_a_step(
    trained: tuple[Path, dict[str, list[Mapping[str, float]]]],
) -> None:
    folder, _ = trained
    assert finished_stages(folder) == ["image_encoder", "clip_encoder", "vision", "language", "masks", "together"]
    assert len((folder / LOG).read_text().splitlines()) == 26


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["vision", "language"])
def test_stopping_and_going_on_gives_the_same_tensors(
    trained: tuple[Path, dict[str, list[Mapping[str, float]]]], tmp_path: Path, stage: str
) -> None:
    """Stopped as a kill would: after a state was written, inside a stage."""
    whole, _ = trained

    class KilledError(Exception):
        pass

    def stop(name: str, step: int, steps: int, means: Mapping[str, float]) -> None:
        if (name, step) == (stage, 4):
            raise KilledError

    stopped = tmp_path / "stopped"
    stopped.mkdir()
    training = Training(stopped, RECIPE, stop)
    training.save_every_s, training.report_every = 0, 1
    with pytest.raises(KilledError):
        training.run()
    assert torch.load(stopped / STATE, weights_only=True)["step"] == 3
    train(stopped)
    ours, expected = tensors(stopped), tensors(whole)
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=0, msg=name)


@pytest.mark.slow
def test_the_language_stage_leaves_what_it_sees_alone(
    trained: tuple[Path, dict[str, list[Mapping[str, float]]]], tmp_path: Path
) -> None:
    training = Training(tmp_path, RECIPE, lambda stage, step, steps, means: None)
    training.run_stage("image_encoder")
    training.run_stage("clip_encoder")
    training.run_stage("vision")
    before = {name: tensor.detach().clone() for name, tensor in training.trainee.tensors.items()}
    training.run_stage("language")
    changed = {name for name, tensor in training.trainee.tensors.items() if not torch.equal(before[name], tensor)}
    assert any(name.startswith("model.layers.0") for name in changed)
    seen = (
        "model.vision_tower",
        "pixel_decoder",
        "predictor",
        "mgvp_layers",
        "model.mm_projector",
        "seg_query_projector",
    )
    assert not [name for name in changed if name.startswith(seen)]


def test_what_was_trained_is_written_in_the_published_layout(
    trained: tuple[Path, dict[str, list[Mapping[str, float]]]], tmp_path: Path
) -> None:
    folder, _ = trained
    write_trained(folder, tmp_path / "checkpoint", trained=SMALL)
    assert open_checkpoint(tmp_path / "checkpoint").family.name == "hyperseg"
    stored = Checkpoint.open(tmp_path / "checkpoint")
    rows = stored.shapes["model.embed_tokens.weight"][0]
    layout = {
        name: (shape, dtype) for name, shape, dtype in tensor_layout(replace(SMALL, token_rows=rows, logit_rows=rows))
    }
    assert {name: (stored.shapes[name], stored.dtypes[name]) for name in stored.shapes} == layout
    assert load_tokenizer(tmp_path / "checkpoint").get_vocab_size() == rows
    for name, tensor in torch.load(folder / STATE, weights_only=True)["tensors"].items():
        assert torch.equal(stored.tensor(name), tensor.to(layout[name][1]))


@pytest.mark.full
def test_what_was_trained_is_what_a_bundle_runs(
    trained: tuple[Path, dict[str, list[Mapping[str, float]]]], tmp_path: Path
) -> None:
    """Masks and scores of the pipeline against the network that training calls, all prompts packed."""
    folder, _ = trained
    write_trained(folder, tmp_path / "checkpoint", trained=SMALL)
    export_bundle(tmp_path / "checkpoint", tmp_path / "bundle", ExportOptions(measure_parity=False))
    stored = Checkpoint.open(tmp_path / "checkpoint")
    vocabulary = Vocabulary.make(tmp_path / "tokenizer", SMALL.max_positions)
    sizes = with_vocabulary(SMALL, vocabulary.rows)
    network = Network(sizes, {name: stored.tensor(name).float() for name in stored.shapes}, vocabulary.special_ids)
    scene, texts = make_scene(1), ["the red circle", "all objects", "the square left of the blue ring"]
    with torch.no_grad():
        vision = network.see(*network_inputs(scene.image[None], SMALL.image_px, SMALL.clip_image_px))
        reading = read_together(
            [expression_prompts(texts, Task.VIDEO, vocabulary.tokenizer, network.dims)], network.dims
        )
        hidden = reading.hidden_states(network, vision)
        queries, conditions = (
            hidden[0, reading.rows(SlotKind.MASK_QUERIES)[0]],
            reading.condition_weights()[0] @ hidden[0],
        )
        decoded = [x.expand(len(texts), *x.shape[1:]) for x in vision.decoded]
        made = network.decode(decoded, queries, conditions.expand(len(texts), -1, -1))
    geometry = longest_side_square(scene.image, SMALL.image_px)[1]
    with Pipeline.load(tmp_path / "bundle") as pipeline:
        (ready,) = pipeline.open_video().push(scene.image, texts)
    for index, result in enumerate(ready.results):
        assert isinstance(result, Instances)
        best = best_query(made.layers[-1][index].numpy(), made.scores[index, :, index].numpy(), geometry)
        assert result.score == pytest.approx(best.score, abs=1e-4)
        assert np.count_nonzero(result.mask != best.mask) <= 2


@pytest.mark.slow
def test_a_written_checkpoint_can_be_trained_on(
    trained: tuple[Path, dict[str, list[Mapping[str, float]]]], tmp_path: Path
) -> None:
    folder, _ = trained
    write_trained(folder, tmp_path / "checkpoint", trained=SMALL)
    start_from(tmp_path / "more", tmp_path / "checkpoint")
    assert finished_stages(tmp_path / "more") == ["image_encoder", "clip_encoder", "vision", "language", "masks"]
    assert list(train(tmp_path / "more")) == ["together"]
    before, after = tensors(folder), tensors(tmp_path / "more")
    changed = [name for name in before if not torch.allclose(before[name], after[name], atol=1e-2)]
    assert not [name for name in changed if name.startswith("model.layers")]  # a few small steps away
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_training_on_needs_a_checkpoint_of_its_own_and_an_empty_folder(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected auxiliaries\.safetensors"):
        start_from(tmp_path, tiny_checkpoint)
    (tmp_path / STATE).touch()
    with pytest.raises(OutputError, match="holds a training already"):
        start_from(tmp_path, tiny_checkpoint)


def test_a_checkpoint_is_written_only_from_a_training_and_over_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found none; train first"):
        write_trained(tmp_path, tmp_path / "checkpoint")
    (tmp_path / STATE).touch()
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(OutputError, match="exists"):
        write_trained(tmp_path, tmp_path / "checkpoint")
