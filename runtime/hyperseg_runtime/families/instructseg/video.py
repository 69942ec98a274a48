"""A video: every frame is seen with those around it (instructseg-spec 2, 8)."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.contracts.requests import Expressions
from hyperseg_runtime.contracts.results import Result
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.family import FrameResults
from hyperseg_runtime.families.instructseg.prompts import Task
from hyperseg_runtime.families.instructseg.reading import Reader
from hyperseg_runtime.families.instructseg.stages import InstructsegStages
from hyperseg_runtime.families.instructseg.state import InstructsegImage
from hyperseg_runtime.families.mask_queries.masks import masks
from hyperseg_runtime.families.mask_queries.merged import in_order, objects_by_probability
from hyperseg_runtime.families.mask_queries.stages import MaskOutputs
from hyperseg_runtime.families.mask_queries.state import Features, PromptStates


@dataclass(frozen=True)
class _Frame:
    number: int
    image: InstructsegImage
    request: Expressions


class InstructsegVideo:
    """A frame's references are the others of a window around it, which ends with the clip: half of them before it, half
    after it. So results come that many frames late, and those of the last frames with `finish`.

    A clip that is shorter than the window has fewer references: all its other frames; a single frame is its own
    reference, as an image is. The release fails on such clips. Each frame goes through the encoders once however many
    texts and windows it is in, and through the perceiver once for each text. Frames may differ in size and in texts.
    """

    def __init__(self, stages: InstructsegStages, reader: Reader) -> None:
        self._stages = stages
        self._reader = reader
        self._window: list[_Frame] = []
        self._waiting: deque[_Frame] = deque()
        self._frames = 0

    def push(self, frame_hwc_u8: np.ndarray, request: Expressions) -> list[FrameResults]:
        if not request.texts:
            raise InputError("a frame needs a text: what is to be segmented in it?")
        wanted = self._stages.dims.reference_frames
        self._reader.check(Task(str(request.task)), request.texts, max(wanted, 1))
        frame = _Frame(self._frames, InstructsegImage(self._stages, frame_hwc_u8), request)
        window = [*self._window, frame][-(wanted + 1) :]
        waiting = [*self._waiting, frame]
        ready = [key for key in waiting if key.number + wanted // 2 <= frame.number >= wanted]
        found = [self._segment(key, window) for key in ready]
        self._window, self._waiting, self._frames = window, deque(waiting[len(ready) :]), self._frames + 1
        for key in ready:
            key.image.release_masks()
        return found

    def finish(self) -> list[FrameResults]:
        found = [self._segment(key, self._window) for key in self._waiting]
        self._window, self._frames = [], 0
        self._waiting.clear()
        return found

    def _segment(self, key: _Frame, window: Sequence[_Frame]) -> FrameResults:
        task, texts, image = Task(str(key.request.task)), key.request.texts, key.image
        with image.seen_with([frame.image for frame in window if frame is not key]):
            asked = self._reader.read(image, task, texts)
            found: Sequence[Result]
            match task:
                case Task.VIDEO_OBJECTS:
                    found = objects_by_probability(image, asked, self._decode)
                case Task.VIDEO_PAINTED:
                    found = in_order(masks(self._stages, image, asked))
                case _:
                    found = masks(self._stages, image, asked)
        return FrameResults(key.number, tuple(found))

    def _decode(self, features: Features, states: PromptStates) -> MaskOutputs:
        return self._stages.decode(features, states.hidden_states, [states.prompt], states.first_row)
