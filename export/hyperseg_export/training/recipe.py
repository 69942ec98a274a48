"""What is trained, on what, in which order: the numbers behind the checkpoint in `samples`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hyperseg_export.families.hyperseg.layout import Sizes
from hyperseg_export.training.auxiliary import Auxiliaries
from hyperseg_export.training.initial import initial_tensors
from hyperseg_export.training.network import Network
from hyperseg_export.training.scenes import SceneArrays, scene_arrays
from hyperseg_export.training.trainer import Losses, Stage, Trainee, finished_stages, run_stage
from hyperseg_export.training.vision_stage import vision_losses
from hyperseg_export.training.vocabulary import Vocabulary

TRAINED = Sizes(
    image_px=128,
    context=384,
    width=128,
    mlp_width=256,
    layers=4,
    heads=4,
    max_positions=512,
    token_rows=0,  # the vocabulary's
    logit_rows=0,
    clip_width=96,
    clip_mlp_width=192,
    clip_layers=5,
    clip_heads=8,
    clip_image_px=100,
    clip_patch_px=10,
    swin_width=24,
    swin_depths=(2, 2, 2, 1),
    swin_heads=(4, 8, 8, 8),
    swin_window=8,
    perceiver_width=64,
    perceiver_heads=4,
    perceiver_queries=16,
    mask_width=64,
    mask_heads=4,
    mask_mlp_width=128,
    mask_layers=3,
    mask_queries=6,
    pixel_layers=3,
    pixel_mlp_width=128,
)

VISION = (
    "model.vision_tower", "model.mm_projector", "temporal_query", "local_project", "level_embed.", "mgvp_layers",
    "expanded_seg_query_project", "pixel_decoder", "predictor", "seg_query_projector", "SEG_token_projector",
)  # fmt: skip
"""Prefixes of what the vision stage trains."""

FIRST_SEED = 1_000_000
"""Seeds of training scenes start here; those below are for testing."""


@dataclass(frozen=True)
class Recipe:
    scenes: int = 8000
    seed: int = 0
    vision: Stage = Stage("vision", steps=1500, rate=2e-3, trained=VISION, weights={"masks": 1.0, "scores": 0.5})
    vision_batch: int = 16


Tell = Callable[[str, int, int, Mapping[str, float]], None]
"""Stage, step, steps, means of the losses since the last call."""


class Training:
    """One run in one folder; stopping it at any point and calling `run` again gives the same tensors."""

    def __init__(self, folder: Path, recipe: Recipe, tell: Tell) -> None:
        self.folder, self.recipe, self.tell = folder, recipe, tell
        self.vocabulary = Vocabulary.make(folder / "tokenizer", TRAINED.max_positions)
        rows = self.vocabulary.rows
        self.sizes = replace(TRAINED, token_rows=rows, logit_rows=rows)
        torch.manual_seed(recipe.seed)
        self.trainee = Trainee(initial_tensors(self.sizes, recipe.seed), Auxiliaries(self.sizes))
        self.network = Network(self.sizes, self.trainee.tensors, self.vocabulary.special_ids)
        self.scenes = self._scenes()

    def _scenes(self) -> SceneArrays:
        count = self.recipe.scenes
        return scene_arrays(
            self.folder, FIRST_SEED, count, lambda done: self.tell("scenes", done, count, {}) if done % 500 == 0 else None
        )

    def run(self) -> None:
        self._stage(self.recipe.vision, self._vision_losses)

    def _stage(self, stage: Stage, losses: Losses) -> None:
        if stage.name in finished_stages(self.folder):
            return
        run_stage(
            stage, self.trainee, losses, self.folder, lambda step, means: self.tell(stage.name, step, stage.steps, means)
        )

    def _rows(self, stage: Stage, step: int, count: int) -> tuple[np.ndarray, torch.Generator]:
        """Scenes of a step, and a source of noise: both follow from seed, stage and step alone."""
        entropy = (self.recipe.seed, *stage.name.encode(), step)
        generator = np.random.default_rng(entropy)
        rows = generator.integers(len(self.scenes), size=count)
        return rows, torch.Generator().manual_seed(int(generator.integers(2**62)))

    def _vision_losses(self, step: int) -> Mapping[str, torch.Tensor]:
        rows, generator = self._rows(self.recipe.vision, step, self.recipe.vision_batch)
        return vision_losses(self.network, self.trainee.auxiliaries, self.scenes, rows, generator)
