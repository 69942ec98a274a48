"""A video, frame after frame: each is seen with what is remembered of the frame before (hyperseg-spec 7)."""

import numpy as np

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.contracts.requests import Classes, Expressions
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.family import FrameResults
from hyperseg_runtime.families.hyperseg.prompts import TRACKING, Task, build_prompt, class_prompt
from hyperseg_runtime.families.hyperseg.stages import FrameOutputs, HypersegStages
from hyperseg_runtime.families.hyperseg.state import HypersegImage
from hyperseg_runtime.families.mask_queries.listed import ListTask, list_prompts, read_list
from hyperseg_runtime.families.mask_queries.masks import Asked, begun, finished
from hyperseg_runtime.families.mask_queries.state import Features, PromptStates
from hyperseg_runtime.families.mask_queries.tracked import MIN_SCORE, follow
from hyperseg_runtime.heads.tracking import Tracks
from hyperseg_runtime.llm.tokenizer import Tokenizer


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
        self._tracks = Tracks()
        self._frames = 0

    def push(self, frame_hwc_u8: np.ndarray, request: Expressions | Classes) -> list[FrameResults]:
        frame = HypersegImage(self._stages, frame_hwc_u8, self._memory)
        tracks = self._tracks
        found: list[Instances]
        if isinstance(request, Classes):
            objects, memory, tracks = self._objects(frame, request)
            found = [objects]
        else:
            found, memory = self._named(frame, request)
        self._memory, self._tracks, self._frames = memory, tracks, self._frames + 1
        return [FrameResults(self._frames - 1, tuple(found))]

    def finish(self) -> list[FrameResults]:
        return []

    def _named(self, frame: HypersegImage, request: Expressions) -> tuple[list[Instances], Buffer]:
        """What each text names, and the memory of the frame."""
        if not request.texts:
            raise InputError("a frame needs a text: what is to be segmented in it?")
        stages, texts = self._stages, request.texts
        prompts = [build_prompt(Task.VIDEO, text, self._tokenizer, stages.dims) for text in texts]
        states = list(frame.prefill(prompts))
        features, _ = frame.features()
        asked = [Asked(one, (text,), Task.VIDEO.value) for one, text in zip(states, texts, strict=True)]
        # Only the first prompt's hidden states hold the visual rows that the memory is made from.
        outputs = stages.decode_frame(features, states[0].hidden_states, [prompts[0]])
        with frame.trusted():
            first = begun(stages, frame, asked[0], outputs)
            found = finished(stages, [first, *(begun(stages, frame, later) for later in asked[1:])])
        return found, outputs.memory

    def _objects(self, frame: HypersegImage, request: Classes) -> tuple[Instances, Buffer, Tracks]:
        """What belongs to the classes, the memory of the frame, and what is known of objects."""
        stages, tokenizer = self._stages, self._tokenizer
        asked = list_prompts(
            request,
            lambda names: class_prompt(ListTask.INSTANCE, names, tokenizer, stages.dims),
            tokenizer,
            stages.dims,
        )
        memories: list[Buffer] = []

        def decode(features: Features, states: PromptStates) -> FrameOutputs:
            if memories:
                return stages.decode(features, states.hidden_states, [states.prompt], states.first_row)
            outputs = stages.decode_frame(features, states.hidden_states, [states.prompt])
            memories.append(outputs.memory)
            return outputs

        read = read_list(stages, frame, asked, decode)
        _, geometry = frame.features()
        objects, tracks = follow(read, geometry, request, TRACKING, self._tracks, self._min_score)
        return objects, memories[0], tracks
