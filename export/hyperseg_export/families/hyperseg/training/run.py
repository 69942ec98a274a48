"""One training in one folder: stages in order, batches that follow from seed, stage and step."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hyperseg_bench.quality.datasets.shapes.scene import MOST
from hyperseg_export.families.hyperseg.training.auxiliary import Auxiliaries
from hyperseg_export.families.hyperseg.training.features import FeatureStore
from hyperseg_export.families.hyperseg.training.initial import initial_tensors
from hyperseg_export.families.hyperseg.training.language_stage import ask_expressions, code_losses, question_losses
from hyperseg_export.families.hyperseg.training.network import Network, Vision
from hyperseg_export.families.hyperseg.training.recipe import FIRST_SEED, LATENT_NOISE, Recipe, with_vocabulary
from hyperseg_export.families.hyperseg.training.scenes import SceneArrays, scene_arrays
from hyperseg_export.families.hyperseg.training.targets import Targets, network_inputs
from hyperseg_export.families.hyperseg.training.trainer import (
    STATE,
    Losses,
    Stage,
    Trainee,
    finished_stages,
    load_state,
    run_stage,
)
from hyperseg_export.families.hyperseg.training.vision_stage import (
    clip_encoder_losses,
    decoding_losses,
    feature_losses,
    image_encoder_losses,
    vision_losses,
)
from hyperseg_export.families.hyperseg.training.vocabulary import Vocabulary

Tell = Callable[[str, int, int, Mapping[str, float]], None]
"""Stage, step, steps, means of the losses since the last call."""


class Training:
    """One run in one folder; stopping it at any point and calling `run` again gives the same tensors.

    Works on torch's default device.
    """

    def __init__(self, folder: Path, recipe: Recipe, tell: Tell) -> None:
        self.folder, self.recipe, self.tell = folder, recipe, tell
        self.vocabulary = Vocabulary.make(folder / "tokenizer", recipe.sizes.max_positions)
        self.sizes = with_vocabulary(recipe.sizes, self.vocabulary.rows)
        torch.manual_seed(recipe.seed)
        with torch.device("cpu"):
            made = initial_tensors(self.sizes, recipe.seed)
        initial = {name: tensor.to(torch.get_default_device()) for name, tensor in made.items()}
        self.trainee = Trainee(initial, Auxiliaries(self.sizes))
        self.network = Network(self.sizes, self.trainee.tensors, self.vocabulary.special_ids)
        self.scenes = self._scenes()
        self.save_every_s, self.report_every = 120.0, 50
        self._store: FeatureStore | None = None
        self._stages: dict[str, tuple[Stage, Losses]] = {
            recipe.image_encoder.name: (recipe.image_encoder, self._image_encoder_losses),
            recipe.clip_encoder.name: (recipe.clip_encoder, self._clip_encoder_losses),
            recipe.vision.name: (recipe.vision, self._vision_losses),
            recipe.language.name: (recipe.language, self._language_losses),
            recipe.masks.name: (recipe.masks, self._masks_losses),
            recipe.together.name: (recipe.together, self._together_losses),
        }

    def _scenes(self) -> SceneArrays:
        count = self.recipe.scenes
        return scene_arrays(
            self.folder,
            FIRST_SEED,
            count,
            lambda done: self.tell("scenes", done, count, {}) if done % 500 == 0 else None,
        )

    def run(self) -> None:
        """All stages that are not behind yet."""
        for name in self._stages:
            if name not in finished_stages(self.folder):
                self.run_stage(name)

    def run_stage(self, name: str) -> None:
        """One stage from where it stopped, or from the end of the one before."""
        stage, losses = self._stages[name]
        stored = name in (self.recipe.language.name, self.recipe.masks.name)
        if stored and self._store is None:
            self._load_last()
            tell = self._tell_some("features", self.recipe.language_scenes)
            self._store = FeatureStore.of(self.network, self.scenes, self.recipe.language_scenes, tell)
        run_stage(
            stage, self.trainee, losses, self.folder, lambda step, means: self.tell(name, step, stage.steps, means),
            self.save_every_s, self.report_every,
        )  # fmt: skip
        if not stored:
            self._store = None

    def _tell_some(self, what: str, count: int) -> Callable[[int], None]:
        return lambda done: self.tell(what, done, count, {}) if done % 800 == 0 else None

    def _load_last(self) -> None:
        """The tensors of the last state, whatever stage it is of."""
        if (self.folder / STATE).exists():
            self.trainee.load(load_state(self.folder))

    @property
    def _unread(self) -> int:
        """Scenes before those that language is learned from."""
        return len(self.scenes) - self.recipe.language_scenes

    def _draw(self, stage: Stage, step: int) -> np.random.Generator:
        """Source of everything random in a step: it follows from seed, stage and step alone."""
        return np.random.default_rng((self.recipe.seed, *stage.name.encode(), step))

    def _image_encoder_losses(self, step: int) -> Mapping[str, Tensor]:
        generator = self._draw(self.recipe.image_encoder, step)
        rows = generator.integers(self._unread, size=self.recipe.image_encoder_batch)
        return image_encoder_losses(self.network, self.trainee.auxiliaries, self.scenes, rows)

    def _clip_encoder_losses(self, step: int) -> Mapping[str, Tensor]:
        generator = self._draw(self.recipe.clip_encoder, step)
        rows = generator.integers(self._unread, size=self.recipe.clip_encoder_batch)
        return clip_encoder_losses(self.network, self.trainee.auxiliaries, self.scenes, rows)

    def _vision_losses(self, step: int) -> Mapping[str, Tensor]:
        generator = self._draw(self.recipe.vision, step)
        rows = generator.integers(self._unread, size=self.recipe.vision_batch)
        noise = torch.Generator(torch.get_default_device()).manual_seed(int(generator.integers(2**62)))
        return vision_losses(self.network, self.trainee.auxiliaries, self.scenes, rows, noise)

    def _language_losses(self, step: int) -> Mapping[str, Tensor]:
        return self._reading_losses(self.recipe.language, step, decode=False)

    def _masks_losses(self, step: int) -> Mapping[str, Tensor]:
        return self._reading_losses(self.recipe.masks, step, decode=True)

    def _reading_losses(self, stage: Stage, step: int, decode: bool) -> Mapping[str, Tensor]:
        recipe, generator = self.recipe, self._draw(stage, step)
        kept = generator.integers(recipe.language_scenes, size=recipe.language_batch)
        assert self._store is not None
        rows, store = self._unread + kept, self._store
        targets, vision, coverage = Targets.of(self.scenes, rows), store.vision(kept), store.coverage[kept].float() / 16
        losses = self._expression_losses(vision, targets, rows, generator, decode, coverage)
        others = generator.integers(recipe.language_scenes, size=recipe.questions_batch)
        return {**losses, **self._question_losses(store.vision(others), self._unread + others, generator)}

    def _together_losses(self, step: int) -> Mapping[str, Tensor]:
        recipe, generator = self.recipe, self._draw(self.recipe.together, step)
        rows = generator.integers(len(self.scenes), size=recipe.together_batch)
        targets = Targets.of(self.scenes, rows)
        images = network_inputs(self.scenes.images[rows], self.network.dims.image_px, self.network.dims.clip_image_px)
        noise = torch.Generator(torch.get_default_device()).manual_seed(int(generator.integers(2**62)))
        vision = self.network.see(*images, latents=self._latents(len(rows), noise))
        return {
            **feature_losses(self.trainee.auxiliaries, vision, targets),
            **self._expression_losses(vision, targets, rows, generator, decode=True),
            **self._question_losses(vision, rows, generator),
        }

    def _latents(self, count: int, noise: torch.Generator) -> Tensor:
        """First latents made inexact by different amounts, as the memory of the frame before is."""
        first = self.trainee.tensors["temporal_query"].expand(count, -1, -1)
        amounts = LATENT_NOISE * torch.rand((count, 1, 1), generator=noise)
        return first + amounts * torch.randn(first.shape, generator=noise)

    def _expression_losses(
        self,
        vision: Vision,
        targets: Targets,
        rows: np.ndarray,
        generator: np.random.Generator,
        decode: bool,
        coverage: Tensor | None = None,
    ) -> dict[str, Tensor]:
        dims, tokenizer = self.network.dims, self.vocabulary.tokenizer
        said = [self.scenes.expressions[row] for row in rows]
        asked = ask_expressions(said, self.recipe.expressions, tokenizer, dims, MOST, generator)
        losses, said_so = code_losses(self.network, self.trainee.auxiliaries, vision, targets, asked)
        if not decode:
            return losses
        return {**losses, **decoding_losses(self.network, vision, *said_so, targets, asked.chosen, coverage)}

    def _question_losses(
        self, vision: Vision, rows: np.ndarray, generator: np.random.Generator
    ) -> Mapping[str, Tensor]:
        said = [self.scenes.questions[row] for row in rows]
        return question_losses(self.network, vision, said, self.recipe.questions, self.vocabulary.tokenizer, generator)
