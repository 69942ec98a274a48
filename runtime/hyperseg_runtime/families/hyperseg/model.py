"""HyperSeg on a bundle: image and request in, masks or an answer out."""

from collections.abc import Iterator, Mapping

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.tables import HostTables
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions, Request, SegmentationRequest
from hyperseg_runtime.contracts.results import Instances, Result, joined
from hyperseg_runtime.contracts.sampling import GREEDY, Sampling, next_token
from hyperseg_runtime.errors import InputError, NumericsError, PromptError
from hyperseg_runtime.families.hyperseg.listed import list_prompts, segment_list
from hyperseg_runtime.families.hyperseg.masks import Asked, begun, finished, masks
from hyperseg_runtime.families.hyperseg.prompts import (
    CLASS_LIST,
    ListTask,
    Task,
    build_prompt,
    continue_prompt,
    region_prompt,
    segment_names_prompt,
)
from hyperseg_runtime.families.hyperseg.spec import CONDITIONS, HypersegDimensions
from hyperseg_runtime.families.hyperseg.stages import HypersegStages
from hyperseg_runtime.families.hyperseg.state import HypersegImage
from hyperseg_runtime.families.hyperseg.video import HypersegVideo
from hyperseg_runtime.images.regions import region_masks, region_names
from hyperseg_runtime.llm.answers import Answer
from hyperseg_runtime.llm.prompt import Prompt
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE, Tokenizer

ANSWER_TOKENS = 128
"""Longest answer unless the caller says otherwise; the release's own default."""


class HypersegModel:
    """Segmenter, Answerer and VideoSegmenter (see `families.family`)."""

    def __init__(self, bundle: Bundle, graphs: Mapping[str, Graph], backend: Backend) -> None:
        self.dims = HypersegDimensions.model_validate(bundle.manifest.dimensions)
        self.tokenizer = Tokenizer(bundle.path(TOKENIZER_FILE))
        self.stages = HypersegStages(self.dims, graphs, HostTables(bundle, self.dims.tables()), backend)
        self.stages.open_graphs()

    def open(self, image_hwc_u8: np.ndarray | None) -> HypersegImage:
        return HypersegImage(self.stages, image_hwc_u8)

    def open_computed(self, outputs: Mapping[str, Buffer], image_hw: tuple[int, int]) -> HypersegImage:
        return HypersegImage.computed(self.stages, outputs, image_hw)

    def open_video(self) -> HypersegVideo:
        return HypersegVideo(self.stages, self.tokenizer)

    def check(self, request: Request, with_image: bool) -> None:
        match request:
            case Question(text=text, max_tokens=max_tokens):
                self._room(self._question(text, with_image), max_tokens)
            case Expressions(texts=texts, task=Task.NAMING, max_tokens=max_tokens):
                for text in texts:
                    self._room(self.prompt(Task.NAMING, text), max_tokens)
            case Expressions(texts=texts, task=str(task)):
                for text in texts:
                    self.prompt(Task(task), text)
            case Classes(task=ListTask.PANOPTIC | ListTask.SEMANTIC | ListTask.INSTANCE as task):
                list_prompts(ListTask(task), request, self.tokenizer, self.dims)
            case Classes(names=names):
                for name in names:
                    self.prompt(Task.REFERRING, name)

    def segment(self, image: HypersegImage, request: SegmentationRequest) -> list[Result]:
        match request:
            case Classes(task=ListTask.PANOPTIC | ListTask.SEMANTIC | ListTask.INSTANCE as task):
                asked_list = list_prompts(ListTask(task), request, self.tokenizer, self.dims)
                return [segment_list(self.stages, image, ListTask(task), request, asked_list)]
            case Classes():
                return [self._classes(image, request)]
            case Regions():
                return [*self._regions(image, request)]
            case Expressions(texts=texts, task=Task.NAMING):
                return [self._name_then_segment(image, text, request.max_tokens) for text in texts]
            case Expressions(texts=texts, task=str(task)):
                prompts = [self.prompt(Task(task), text) for text in texts]
                states = image.prefill(prompts)
                asked = (Asked(found, (text,), Task(task)) for found, text in zip(states, texts, strict=True))
                return [*masks(self.stages, image, asked)]
        raise InputError(f"HyperSeg segments no {request.kind} in the task {request.task}")

    def ask(self, image: HypersegImage, question: Question) -> Answer:
        prompt = self._question(question.text, image.has_image)
        return self._answer(image, prompt, question.sampling, question.max_tokens)

    def exercise(self, image_hwc_u8: np.ndarray) -> None:
        """As a video frame, whose memory a single image does not need, and one token scored."""
        prompt = self.prompt(Task.VIDEO, "the object in the middle")
        image = self.open(image_hwc_u8)
        (states,) = image.prefill([prompt])
        features, _ = image.features()
        outputs = self.stages.decode_frame(features, states.hidden_states, [prompt])
        self.stages.prepare(image_hwc_u8)
        self.stages.read_masks(outputs, states.hidden_states, image.hw)
        self.stages.score_tokens(states.hidden_states, [states.last_row])

    def close(self) -> None:
        self.stages.close()

    def prompt(self, task: Task, text: str) -> Prompt:
        """Raises PromptError for text that cannot be asked or does not fit."""
        return build_prompt(task, text, self.tokenizer, self.dims)

    def _question(self, text: str, with_image: bool) -> Prompt:
        return self.prompt(Task.QUESTION if with_image else Task.TEXT_QUESTION, text)

    def _regions(self, image: HypersegImage, request: Regions) -> list[Instances]:
        """All regions in one prompt, as many as fit; one result for each."""
        keys = image.read_regions(region_masks(request, image.hw))
        names = region_names(request)
        found = []
        for start in range(0, len(keys), CONDITIONS.maximum):
            part = slice(start, start + CONDITIONS.maximum)
            (states,) = image.prefill([region_prompt(keys[part], self.tokenizer, self.dims)])
            asked = Asked(states, names[part], ListTask.REGION)
            features, _ = image.features()
            outputs = self.stages.decode(features, states.hidden_states, [states.prompt], states.first_row)
            with image.trusted():
                (together,) = finished(self.stages, [begun(self.stages, image, asked, outputs.of_regions())])
            found += [together.chosen([row]).asked_as(name) for row, name in enumerate(names[part])]
        return found

    def _classes(self, image: HypersegImage, request: Classes) -> Instances:
        """Each name is asked as an expression, which is what the release was published for."""
        asked = Expressions(request.names, Task.REFERRING.value)
        found = [one for one in self.segment(image, asked) if isinstance(one, Instances)]
        return joined(found, request.names, CLASS_LIST, image.hw)

    def _name_then_segment(self, image: HypersegImage, instruction: str, max_tokens: int | None) -> Instances:
        """The paper's hybrid entity recognition: the model names objects, then masks each of them."""
        asked = self.prompt(Task.NAMING, instruction)
        answer = self._answer(image, asked, GREEDY, max_tokens).finished()
        named = [token_id for token_id in answer.token_ids if token_id != self.dims.eos_token_id]
        prompt, names = segment_names_prompt(asked, named, self.tokenizer, self.dims)
        (states,) = image.prefill([prompt])
        (found,) = masks(self.stages, image, [Asked(states, names, Task.NAMING)])
        return found.asked_as(instruction).best_first()

    def _answer(self, image: HypersegImage, prompt: Prompt, sampling: Sampling, max_tokens: int | None) -> Answer:
        room = self._room(prompt, max_tokens)
        limit = min(room, ANSWER_TOKENS) if max_tokens is None else max_tokens
        tokens = self._generate(image, prompt, sampling, limit)
        return Answer(tokens, self.tokenizer, self.dims.eos_token_id)

    def _room(self, prompt: Prompt, max_tokens: int | None) -> int:
        """Tokens that are left for the answer. Raises PromptError where they are too few, InputError for none."""
        room = self.dims.context - prompt.length
        shortest = 1 if max_tokens is None else max_tokens
        if shortest < 1:
            raise InputError(f"an answer of {shortest} tokens was asked for, expected 1 or more")
        if shortest > room:
            raise PromptError(
                f"the prompt takes {prompt.length} tokens and the answer up to {shortest}, the model was exported "
                f"for {self.dims.context} together; ask for less or export with a larger --context"
            )
        return room

    def _generate(self, image: HypersegImage, prompt: Prompt, sampling: Sampling, limit: int) -> Iterator[int]:
        """Ids one after the other. Only ids with an embedding can be chosen: others could not be fed back."""
        generator = sampling.generator()
        generated: list[int] = []
        while len(generated) < limit:
            with image.trusted():
                found = image.next_logits(continue_prompt(prompt, generated, self.dims))
                logits = found.to_host()[0, : self.dims.token_rows]
                if not np.isfinite(logits).all():
                    raise NumericsError()
            generated.append(next_token(logits, sampling, generator))
            yield generated[-1]
