"""HyperSeg on a bundle: image and text in, masks or an answer out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.bundle.opening import TOKENIZER_FILE, Bundle
from hyperseg_runtime.bundle.tables import LATENTS, MASK_QUERIES, TABLES, TOKENS, Embeddings, table_path
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.results import SegmentationResult
from hyperseg_runtime.errors import BundleError, InputError, NumericsError, PromptError
from hyperseg_runtime.families.family import FamilySpec
from hyperseg_runtime.families.hyperseg.image_inputs import image_inputs
from hyperseg_runtime.families.hyperseg.prompts import Task, build_prompt, continue_prompt, segment_names_prompt
from hyperseg_runtime.families.hyperseg.published import PUBLISHED
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions, graph_specs
from hyperseg_runtime.families.hyperseg.stages import HypersegStages, MaskOutputs
from hyperseg_runtime.families.hyperseg.state import NOT_FINITE, HypersegImage, Reading
from hyperseg_runtime.heads.referring import best_query
from hyperseg_runtime.images.preprocessing import ImageGeometry
from hyperseg_runtime.llm.answers import Answer
from hyperseg_runtime.llm.prompt import Prompt
from hyperseg_runtime.llm.sampling import GREEDY, Sampling, next_token
from hyperseg_runtime.llm.tokenizer import Tokenizer
from hyperseg_runtime.timing import Stopwatch

ANSWER_TOKENS = 128
"""Longest answer unless the caller says otherwise; the release's own default."""


class HypersegModel:
    def __init__(self, bundle: Bundle, graphs: Mapping[str, Graph], backend: Backend) -> None:
        self.dims = HypersegDimensions.model_validate(bundle.manifest.dimensions)
        self.tokenizer = Tokenizer(bundle.path(TOKENIZER_FILE))
        self.stages = HypersegStages(self.dims, graphs, _tables(bundle, self.dims), backend)
        self.stages.open_graphs()

    def open(self, image_hwc_u8: np.ndarray | None) -> HypersegImage:
        return HypersegImage(self.stages, image_hwc_u8)

    def segment(
        self, image: HypersegImage, texts: Sequence[str], task: str, stopwatch: Stopwatch
    ) -> list[SegmentationResult]:
        prompts = [build_prompt(Task(task), text, self.tokenizer, self.dims) for text in texts]
        readings = image.read(prompts, stopwatch)
        return [
            result
            for reading, text in zip(readings, texts, strict=True)
            for result in self._masks(image, reading, [text], task, stopwatch)
        ]

    def ask(self, image: HypersegImage, question: str, sampling: Sampling, max_tokens: int | None) -> Answer:
        task = Task.QUESTION if image.has_image else Task.TEXT_QUESTION
        prompt = build_prompt(task, question, self.tokenizer, self.dims)
        return self._answer(image, prompt, sampling, max_tokens, Stopwatch())

    def name_then_segment(
        self, image: HypersegImage, instruction: str, max_tokens: int | None, stopwatch: Stopwatch
    ) -> list[SegmentationResult]:
        asked = build_prompt(Task.NAMING, instruction, self.tokenizer, self.dims)
        answer = self._answer(image, asked, GREEDY, max_tokens, stopwatch).finished()
        named = [token_id for token_id in answer.token_ids if token_id != self.dims.eos_token_id]
        prompt, names = segment_names_prompt(asked, named, self.tokenizer, self.dims)
        (reading,) = image.read([prompt], stopwatch)
        return list(self._masks(image, reading, names, Task.NAMING, stopwatch))

    def segment_frame(
        self, frame_hwc_u8: np.ndarray, texts: Sequence[str], memory: Buffer | None, stopwatch: Stopwatch
    ) -> tuple[list[SegmentationResult], Buffer]:
        """hyperseg-spec 7. The memory stands before the texts, so it is the same whatever they ask."""
        prompts = [build_prompt(Task.VIDEO, text, self.tokenizer, self.dims) for text in texts]
        frame = HypersegImage(self.stages, frame_hwc_u8, memory)
        results: list[SegmentationResult] = []
        next_memory: Buffer | None = None
        for reading, text in zip(frame.read(prompts, stopwatch), texts, strict=True):
            if next_memory is None:  # only the first prompt's hidden states hold the visual rows
                features, geometry = frame.features(stopwatch)
                outputs = self.stages.decode_frame(features, reading.hidden_states, [reading.prompt], stopwatch)
                next_memory = outputs.memory
                results += self._results(outputs, geometry, reading, [text], Task.VIDEO, stopwatch)
            else:
                results += self._masks(frame, reading, [text], Task.VIDEO, stopwatch)
        if next_memory is None:
            raise InputError("a frame needs a text: what is to be segmented in it?")
        return results, next_memory

    def exercise(self, image_hwc_u8: np.ndarray) -> None:
        """As a video frame, whose memory a single image does not need, and one token scored."""
        stages, stopwatch = self.stages, Stopwatch()
        prompt = build_prompt(Task.VIDEO, "the object in the middle", self.tokenizer, self.dims)
        image = self.open(image_hwc_u8)
        (reading,) = image.read([prompt], stopwatch)
        features, _ = image.features(stopwatch)
        stages.decode_frame(features, reading.hidden_states, [prompt], stopwatch)
        stages.score_tokens(reading.last_row, stopwatch)

    def _masks(
        self, image: HypersegImage, reading: Reading, texts: Sequence[str], task: str, stopwatch: Stopwatch
    ) -> Iterator[SegmentationResult]:
        """The best mask for each condition of the prompt that was read."""
        features, geometry = image.features(stopwatch)
        outputs = self.stages.decode(features, reading.hidden_states, [reading.prompt], stopwatch, reading.first_row)
        return self._results(outputs, geometry, reading, texts, task, stopwatch)

    def _results(
        self,
        outputs: MaskOutputs,
        geometry: ImageGeometry,
        reading: Reading,
        texts: Sequence[str],
        task: str,
        stopwatch: Stopwatch,
    ) -> Iterator[SegmentationResult]:
        for condition, text in enumerate(texts):
            with stopwatch.span("best_mask"):
                masks, scores = outputs.mask_logits.to_host()[0], outputs.score_logits.to_host()[0, :, condition]
                if not (np.isfinite(masks).all() and np.isfinite(scores).all()):
                    raise NumericsError(NOT_FINITE)
                best = best_query(masks, scores, geometry)
            yield SegmentationResult(
                masks=best.mask[None],
                scores=np.array([best.score], np.float32),
                queries=np.array([best.query], np.int64),
                text=text,
                task=task,
                timings_ms=stopwatch.spans_ms,
                evaluated=best.evaluated,
                prompt_tokens=reading.prompt.length,
                reused_tokens=reading.reused,
            )

    def _answer(
        self, image: HypersegImage, prompt: Prompt, sampling: Sampling, max_tokens: int | None, stopwatch: Stopwatch
    ) -> Answer:
        room = self.dims.context - prompt.length
        shortest = 1 if max_tokens is None else max_tokens
        if shortest < 1:
            raise InputError(f"an answer of {shortest} tokens was asked for, expected 1 or more")
        if shortest > room:
            raise PromptError(
                f"the prompt takes {prompt.length} tokens and the answer up to {shortest}, the model was exported "
                f"for {self.dims.context} together; ask for less or export with a larger --context"
            )
        limit = min(room, ANSWER_TOKENS) if max_tokens is None else max_tokens
        tokens = self._generate(image, prompt, sampling, limit, stopwatch)
        return Answer(tokens, self.tokenizer, self.dims.eos_token_id)

    def _generate(
        self, image: HypersegImage, prompt: Prompt, sampling: Sampling, limit: int, stopwatch: Stopwatch
    ) -> Iterator[int]:
        """Ids one after the other. Only ids with an embedding can be chosen: others could not be fed back."""
        generator = sampling.generator()
        said: list[int] = []
        while len(said) < limit:
            (reading,) = image.read([continue_prompt(prompt, said, self.dims)], stopwatch)
            logits = self.stages.score_tokens(reading.last_row, stopwatch).to_host()[0, : self.dims.token_rows]
            if not np.isfinite(logits).all():
                raise NumericsError(NOT_FINITE)
            said.append(next_token(logits, sampling, generator))
            yield said[-1]


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
    published=PUBLISHED.model_dump(mode="json"),
    image_inputs=image_inputs,
)
