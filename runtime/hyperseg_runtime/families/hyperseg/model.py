"""HyperSeg on a bundle: image and text in, mask out."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hyperseg_runtime.backends.base import Backend, Graph
from hyperseg_runtime.bundle import TOKENIZER_FILE, Bundle
from hyperseg_runtime.embeddings import LATENTS, MASK_QUERIES, TABLES, TOKENS, Embeddings, table_path
from hyperseg_runtime.errors import BundleError, NumericsError
from hyperseg_runtime.families.hyperseg.prompts import Task, build_prompt
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions, graph_specs
from hyperseg_runtime.families.hyperseg.stages import HypersegStages
from hyperseg_runtime.family_spec import FamilySpec
from hyperseg_runtime.graph_spec import GraphSpec
from hyperseg_runtime.heads.referring import best_query
from hyperseg_runtime.preprocess import ImageGeometry, longest_side_square, plain_square
from hyperseg_runtime.results import SegmentationResult
from hyperseg_runtime.timing import Stopwatch
from hyperseg_runtime.tokenizer import Tokenizer


def preprocess(image_hwc_u8: np.ndarray, dims: HypersegDimensions) -> tuple[np.ndarray, np.ndarray, ImageGeometry]:
    """Inputs of both encoders, (1, 3, S, S) and (1, 3, C, C) float32, and the way back."""
    image, geometry = longest_side_square(image_hwc_u8, dims.image_px)
    return image[None], plain_square(image_hwc_u8, dims.clip_image_px)[None], geometry


class HypersegModel:
    def __init__(self, bundle: Bundle, graphs: Mapping[str, Graph], backend: Backend) -> None:
        self.dims = HypersegDimensions.model_validate(bundle.manifest.dimensions)
        self.tokenizer = Tokenizer(bundle.path(TOKENIZER_FILE))
        self.stages = HypersegStages(self.dims, graphs, _tables(bundle, self.dims), backend)

    def segment(self, image_hwc_u8: np.ndarray, text: str, task: str, stopwatch: Stopwatch) -> SegmentationResult:
        prompts = [build_prompt(Task(task), text, self.tokenizer, self.dims)]
        with stopwatch.span("preprocess"):
            images, images_clip, geometry = preprocess(image_hwc_u8, self.dims)
        features = self.stages.perceive(images, images_clip, self.stages.first_latents(1), stopwatch)
        with stopwatch.span("assemble"):
            embeds = self.stages.assemble(prompts, features.image_tokens, features.fvp_tokens)
        hidden = self.stages.read(embeds, [prompts[0].attended_length], stopwatch)
        outputs = self.stages.decode(features, hidden, prompts, stopwatch)
        with stopwatch.span("best_mask"):
            masks, scores = outputs.mask_logits.to_host()[0], outputs.score_logits.to_host()[0, :, 0]
            if not (np.isfinite(masks).all() and np.isfinite(scores).all()):
                raise NumericsError(
                    "the network produced NaN or infinite values; run verify: the weights or the precision are at fault"
                )
            best = best_query(masks, scores, geometry)
        return SegmentationResult(
            masks=best.mask[None],
            scores=np.array([best.score], np.float32),
            queries=np.array([best.query], np.int64),
            text=text,
            task=task,
            timings_ms=stopwatch.spans_ms,
            evaluated=best.evaluated,
        )

    def exercise(self, image_hwc_u8: np.ndarray) -> None:
        """As a video frame, whose memory a single image does not need, and one token scored."""
        stages, stopwatch = self.stages, Stopwatch()
        prompts = [build_prompt(Task.VIDEO, "the object in the middle", self.tokenizer, self.dims)]
        images, images_clip, _ = preprocess(image_hwc_u8, self.dims)
        features = stages.perceive(images, images_clip, stages.first_latents(1), stopwatch)
        embeds = stages.assemble(prompts, features.image_tokens, features.fvp_tokens)
        hidden = stages.read(embeds, [prompts[0].attended_length], stopwatch)
        stages.decode_frame(features, hidden, prompts, stopwatch)
        stages.score_tokens(stages.last_row(hidden), stopwatch)


def _tables(bundle: Bundle, dims: HypersegDimensions) -> Embeddings:
    """The bundle's tables; BundleError where their shapes are not those of the model."""
    for name in TABLES:
        bundle.path(table_path(name))
    tables = Embeddings(bundle.directory)
    for name, shape in (
        (TOKENS, (dims.token_rows, dims.width)),
        (MASK_QUERIES, (dims.mask_queries, dims.width)),
        (LATENTS, (dims.perceiver_queries, dims.perceiver_width)),
    ):
        if tables.shape(name) != shape:
            raise BundleError(f"{table_path(name)} has shape {tables.shape(name)}, the model needs {shape}")
    return tables


def _specs(dimensions: Mapping[str, Any]) -> tuple[GraphSpec, ...]:
    return graph_specs(HypersegDimensions.model_validate(dimensions))


FAMILY = FamilySpec(
    name="hyperseg",
    title="HyperSeg",
    paper="arXiv 2411.17606",
    licence="code Apache-2.0; weights build on Phi-2 (MIT) and SigLIP (Apache-2.0)",
    segmentation_tasks=(Task.REFERRING.value, Task.REASONING.value),
    graph_specs=_specs,
    open_model=HypersegModel,
)
