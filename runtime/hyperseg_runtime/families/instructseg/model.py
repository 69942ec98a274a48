"""InstructSeg on a bundle: image and request in, masks or an answer out."""

from collections.abc import Mapping

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.tables import HostTables
from hyperseg_runtime.contracts.requests import Expressions, Question, Request, SegmentationRequest
from hyperseg_runtime.contracts.results import Result
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.instructseg.prompts import Task, question_prompt
from hyperseg_runtime.families.instructseg.reading import Reader
from hyperseg_runtime.families.instructseg.spec import InstructsegDimensions
from hyperseg_runtime.families.instructseg.stages import InstructsegStages
from hyperseg_runtime.families.instructseg.state import InstructsegImage
from hyperseg_runtime.families.instructseg.video import InstructsegVideo
from hyperseg_runtime.families.mask_queries.answering import Answering
from hyperseg_runtime.families.mask_queries.masks import masks
from hyperseg_runtime.llm.answers import Answer
from hyperseg_runtime.llm.prompt import Prompt
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE, Tokenizer


class InstructsegModel:
    """Segmenter, Answerer and VideoSegmenter (see `families.family`)."""

    def __init__(self, bundle: Bundle, graphs: Mapping[str, Graph], backend: Backend) -> None:
        self.dims = InstructsegDimensions.model_validate(bundle.manifest.dimensions)
        self.tokenizer = Tokenizer(bundle.path(TOKENIZER_FILE))
        self.stages = InstructsegStages(self.dims, graphs, HostTables(bundle, self.dims.tables()), backend)
        self.stages.open_graphs()
        self._reader = Reader(self.dims, self.tokenizer)
        self._answering = Answering(self.dims, self.tokenizer)

    def open(self, image_hwc_u8: np.ndarray | None) -> InstructsegImage:
        return InstructsegImage(self.stages, image_hwc_u8)

    def open_computed(self, outputs: Mapping[str, Buffer], image_hw: tuple[int, int]) -> InstructsegImage:
        return InstructsegImage.computed(self.stages, outputs, image_hw)

    def open_video(self) -> InstructsegVideo:
        return InstructsegVideo(self.stages, self._reader)

    def check(self, request: Request, with_image: bool) -> None:
        match request:
            case Question(text=text, max_tokens=max_tokens):
                self._answering.room(self._question(text, with_image), max_tokens)
            case Expressions(texts=texts, task=str(task)):
                self._reader.check(Task(task), texts, references=1)

    def segment(self, image: InstructsegImage, request: SegmentationRequest) -> list[Result]:
        match request:
            case Expressions(texts=texts, task=str(task)):
                return [*masks(self.stages, image, self._reader.read(image, Task(task), texts))]
        raise InputError(f"InstructSeg segments no {request.kind} in the task {request.task}")

    def ask(self, image: InstructsegImage, question: Question) -> Answer:
        prompt = self._question(question.text, image.has_image)
        return self._answering.answer(image, prompt, question.sampling, question.max_tokens)

    def exercise(self, image_hwc_u8: np.ndarray) -> None:
        """One expression, its mask as a device reads it, and one token scored."""
        image = self.open(image_hwc_u8)
        (asked,) = self._reader.read(image, Task.REFERRING, ["the object in the middle"])
        states = asked.states
        features, _ = image.features()
        outputs = self.stages.decode(features, states.hidden_states, [states.prompt])
        self.stages.prepare(image_hwc_u8)
        self.stages.read_masks(outputs, states.hidden_states, image.hw)
        self.stages.score_tokens(states.hidden_states, [states.last_row])

    def _question(self, text: str, with_image: bool) -> Prompt:
        task = Task.QUESTION if with_image else Task.TEXT_QUESTION
        return question_prompt(task, text, self.tokenizer, self.dims)

    def close(self) -> None:
        self.stages.close()
