"""A video, frame after frame: each is seen with what is remembered of the frame before (hyperseg-spec 7)."""

import numpy as np

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.contracts.requests import Classes, Expressions
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.family import FrameResults
from hyperseg_runtime.families.hyperseg.prompts import TRACKING, Task, build_prompt, class_prompt
from hyperseg_runtime.families.hyperseg.stages import FrameOutputs, HypersegStages, PromptWindow
from hyperseg_runtime.families.hyperseg.state import HypersegImage
from hyperseg_runtime.families.mask_queries import merged
from hyperseg_runtime.families.mask_queries.listed import ListTask, list_prompts, read_list
from hyperseg_runtime.families.mask_queries.masks import Asked, begun, finished
from hyperseg_runtime.families.mask_queries.state import Features, PromptStates
from hyperseg_runtime.families.mask_queries.tracked import MIN_SCORE, follow
from hyperseg_runtime.heads.tracking import Tracks
from hyperseg_runtime.llm.prompt import Slot, SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer

Windows = dict[tuple[Slot, ...], PromptWindow]
"""By the conditions of a prompt. Those that a frame is not asked for are forgotten."""


class HypersegVideo:
    """Causal: every frame's results are ready when it was pushed.

    The memory is of one size however long the video is (0.26 MB for HyperSeg-3B) and stays where the backend lives. It
    is made from rows that stand before the texts, so it is the same whatever they ask, and texts may differ from
    frame to frame. Objects of a class list are numbered through all frames.
    """

    def __init__(self, stages: HypersegStages, tokenizer: Tokenizer, min_score: float = MIN_SCORE) -> None:
        """`min_score` is that of objects to number."""
        self._stages = stages
        self._tokenizer = tokenizer
        self._min_score = min_score
        self._memory: Buffer | None = None
        self._windows: Windows = {}
        self._tracks = Tracks()
        self._frames = 0

    def push(self, frame_hwc_u8: np.ndarray, request: Expressions | Classes) -> list[FrameResults]:
        frame = HypersegImage(self._stages, frame_hwc_u8, self._memory)
        decoding = _FrameDecoding(self._stages, self._windows)
        tracks = self._tracks
        if isinstance(request, Classes):
            objects, tracks = self._objects(frame, request, decoding)
            found = [objects]
        else:
            found = self._named(frame, request, decoding)
        self._memory, self._windows = decoding.memory, decoding.later
        self._tracks, self._frames = tracks, self._frames + 1
        return [FrameResults(self._frames - 1, tuple(found))]

    def finish(self) -> list[FrameResults]:
        return []

    def _named(self, frame: HypersegImage, request: Expressions, decoding: "_FrameDecoding") -> list[Instances]:
        """What each text names."""
        if not request.texts:
            raise InputError("a frame needs a text: what is to be segmented in it?")
        stages, texts, task = self._stages, request.texts, str(request.task)
        prompts = [build_prompt(Task.VIDEO, text, self._tokenizer, stages.dims) for text in texts]
        states = list(frame.prefill(prompts))
        features, _ = frame.features()
        asked = [Asked(one, (text,), task) for one, text in zip(states, texts, strict=True)]
        if task == merged.VIDEO_OBJECTS:
            return merged.objects_by_probability(frame, asked, decoding)
        with frame.trusted():
            found = finished(stages, [begun(stages, frame, one, decoding(features, one.states)) for one in asked])
        return merged.in_order(found) if task == merged.VIDEO_PAINTED else found

    def _objects(self, frame: HypersegImage, request: Classes, decoding: "_FrameDecoding") -> tuple[Instances, Tracks]:
        """What belongs to the classes, and what is known of objects."""
        stages, tokenizer = self._stages, self._tokenizer
        asked = list_prompts(
            request,
            lambda names: class_prompt(ListTask.INSTANCE, names, tokenizer, stages.dims),
            tokenizer,
            stages.dims,
        )
        read = read_list(stages, frame, asked, decoding)
        _, geometry = frame.features()
        return follow(read, geometry, request, TRACKING, self._tracks, self._min_score)


class _FrameDecoding:
    """The calls of the mask decoder for one frame, prompt after prompt, and what the next frame takes of them."""

    def __init__(self, stages: HypersegStages, windows: Windows) -> None:
        self._stages = stages
        self._windows = windows
        self.memory: Buffer | None = None
        self.later: Windows = {}

    def __call__(self, features: Features, states: PromptStates) -> FrameOutputs:
        conditions = tuple(slot for slot in states.prompt.slots if slot.kind is SlotKind.CONDITION)
        hidden, prompts, window = states.hidden_states, [states.prompt], self._windows.get(conditions)
        if self.memory is None:  # only the first prompt's hidden states hold the visual rows that it is made from
            outputs = self._stages.decode_frame(features, hidden, prompts, window)
            self.memory = outputs.memory
        else:
            outputs = self._stages.decode(features, hidden, prompts, states.first_row, window)
        if outputs.window:
            self.later[conditions] = outputs.window
        return outputs
