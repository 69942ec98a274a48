"""HyperSeg on a bundle: image and request in, masks or an answer out."""

from collections.abc import Mapping

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.tables import HostTables
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question, Regions, Request, SegmentationRequest
from hyperseg_runtime.contracts.results import Instances, Result
from hyperseg_runtime.contracts.sampling import GREEDY
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.class_names import answered_one_by_one, every_name
from hyperseg_runtime.families.hyperseg.prompts import (
    CLASS_LIST,
    RECOGNITION,
    REGION,
    TRACKING,
    Task,
    build_prompt,
    class_prompt,
    region_prompt,
    rows_behind_answer,
    segment_names_prompt,
)
from hyperseg_runtime.families.hyperseg.recognition import answered_list, ask_list, segment_answered
from hyperseg_runtime.families.hyperseg.region_weights import region_weights
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.families.hyperseg.stages import HypersegStages
from hyperseg_runtime.families.hyperseg.state import HypersegImage
from hyperseg_runtime.families.hyperseg.video import HypersegVideo
from hyperseg_runtime.families.mask_queries import merged
from hyperseg_runtime.families.mask_queries.answering import Answering
from hyperseg_runtime.families.mask_queries.listed import ListPrompts, ListTask, list_prompts, segment_list
from hyperseg_runtime.families.mask_queries.masks import Asked, masks
from hyperseg_runtime.families.mask_queries.regions import segment_regions
from hyperseg_runtime.images.regions import region_masks, region_names
from hyperseg_runtime.llm.answers import Answer
from hyperseg_runtime.llm.prompt import Prompt
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE, Tokenizer


class HypersegModel:
    """Segmenter, Answerer and VideoSegmenter (see `families.family`)."""

    def __init__(self, bundle: Bundle, graphs: Mapping[str, Graph], backend: Backend) -> None:
        self.dims = HypersegDimensions.model_validate(bundle.manifest.dimensions)
        self.tokenizer = Tokenizer(bundle.path(TOKENIZER_FILE))
        self.stages = HypersegStages(self.dims, graphs, HostTables(bundle, self.dims.tables()), backend)
        self.stages.open_graphs()
        self._answering = Answering(self.dims, self.tokenizer)

    def open(self, image_hwc_u8: np.ndarray | None) -> HypersegImage:
        return HypersegImage(self.stages, image_hwc_u8)

    def open_computed(self, outputs: Mapping[str, Buffer], image_hw: tuple[int, int]) -> HypersegImage:
        return HypersegImage.computed(self.stages, outputs, image_hw)

    def open_video(self) -> HypersegVideo:
        return HypersegVideo(self.stages, self.tokenizer)

    def check(self, request: Request, with_image: bool) -> None:
        match request:
            case Question(text=text, max_tokens=max_tokens):
                self._answering.room(self._question(text, with_image), max_tokens)
            case Expressions(texts=texts, task=Task.NAMING, max_tokens=max_tokens):
                for text in texts:
                    self._answering.room(self.prompt(Task.NAMING, text), max_tokens, rows_behind_answer(self.dims))
            case Expressions(texts=texts, task=merged.VIDEO_OBJECTS | merged.VIDEO_PAINTED):
                for text in texts:
                    self.prompt(Task.VIDEO, text)
            case Expressions(texts=texts, task=str(task)):
                for text in texts:
                    self.prompt(Task(task), text)
            case Classes(task=ListTask.PANOPTIC | ListTask.SEMANTIC | ListTask.INSTANCE as task):
                self.listed(ListTask(task), request)
            case Classes(task=task) if task == TRACKING:
                self.listed(ListTask.INSTANCE, request)
            case Classes(task=task) if task == RECOGNITION:
                ask_list(request, self.tokenizer, self.dims)
            case Classes():
                for name in every_name(request):
                    self.prompt(Task.REFERRING, name)

    def segment(self, image: HypersegImage, request: SegmentationRequest) -> list[Result]:
        match request:
            case Classes(task=ListTask.PANOPTIC | ListTask.SEMANTIC | ListTask.INSTANCE as task):
                asked_list = self.listed(ListTask(task), request)
                return [segment_list(self.stages, image, ListTask(task), request, asked_list)]
            case Classes(task=task) if task == RECOGNITION:
                return [self._recognise(image, request)]
            case Classes():
                return [self._classes(image, request)]
            case Regions():
                return [*self._regions(image, request)]
            case Expressions(texts=texts, task=Task.NAMING):
                return [self._name_then_segment(image, text, request.max_tokens) for text in texts]
            case Expressions(texts=texts, task=str(task)):
                prompts = [self.prompt(Task(task), text) for text in texts]
                states = image.prefill(prompts)
                asked = (Asked(found, (text,), task) for found, text in zip(states, texts, strict=True))
                return [*masks(self.stages, image, asked)]
        raise InputError(f"HyperSeg segments no {request.kind} in the task {request.task}")

    def ask(self, image: HypersegImage, question: Question) -> Answer:
        prompt = self._question(question.text, image.has_image)
        return self._answering.answer(image, prompt, question.sampling, question.max_tokens)

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

    def listed(self, task: ListTask, request: Classes) -> ListPrompts:
        """Raises PromptError for names that cannot be asked."""
        return list_prompts(
            request, lambda names: class_prompt(task, names, self.tokenizer, self.dims), self.tokenizer, self.dims
        )

    def _question(self, text: str, with_image: bool) -> Prompt:
        return self.prompt(Task.QUESTION if with_image else Task.TEXT_QUESTION, text)

    def _regions(self, image: HypersegImage, request: Regions) -> list[Instances]:
        if request.seed is not None:
            raise InputError("HyperSeg draws no points of regions: all of a region counts; leave the seed out")
        tokens = image.tokens().to_host()[0]
        rows = [region_weights(mask, len(tokens)) @ tokens for mask in region_masks(request, image.hw)]
        return segment_regions(
            self.stages,
            image,
            image.hold_regions(rows),
            region_names(request),
            REGION,
            lambda regions: region_prompt(regions, self.tokenizer, self.dims),
        )

    def _classes(self, image: HypersegImage, request: Classes) -> Instances:
        """Each name is asked as an expression, which is what the release was published for."""
        asked = Expressions(every_name(request), Task.REFERRING.value)
        found = [one for one in self.segment(image, asked) if isinstance(one, Instances)]
        return answered_one_by_one(request, found, CLASS_LIST, image.hw)

    def _recognise(self, image: HypersegImage, request: Classes) -> Instances:
        """The model names what it sees of a list, then masks it."""
        asked = ask_list(request, self.tokenizer, self.dims)
        answer = self._answering.answer(image, asked.prompt, GREEDY, asked.max_tokens).finished()
        answered = answered_list(asked, request, self._words(answer), self.tokenizer, self.dims)
        return segment_answered(self.stages, image, request, answered, answer.text)

    def _words(self, answer: Answer) -> list[int]:
        return [token_id for token_id in answer.token_ids if token_id != self.dims.eos_token_id]

    def _name_then_segment(self, image: HypersegImage, instruction: str, max_tokens: int | None) -> Instances:
        """The paper's hybrid entity recognition: the model names objects, then masks each of them."""
        asked = self.prompt(Task.NAMING, instruction)
        behind = rows_behind_answer(self.dims)
        answer = self._answering.answer(image, asked, GREEDY, max_tokens, behind).finished()
        prompt, names = segment_names_prompt(asked, self._words(answer), self.tokenizer, self.dims)
        (states,) = image.prefill([prompt])
        (found,) = masks(self.stages, image, [Asked(states, names, Task.NAMING.value)])
        return found.asked_as(instruction).best_first()
