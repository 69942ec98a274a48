"""A video, frame after frame: each is seen with what is remembered of the frame before (hyperseg-spec 7)."""

import numpy as np

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.contracts.requests import Expressions
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.family import FrameResults
from hyperseg_runtime.families.hyperseg.prompts import Task, build_prompt
from hyperseg_runtime.families.hyperseg.stages import HypersegStages
from hyperseg_runtime.families.hyperseg.state import HypersegImage
from hyperseg_runtime.families.mask_queries.masks import Asked, begun, finished
from hyperseg_runtime.llm.tokenizer import Tokenizer


class HypersegVideo:
    """Causal: every frame's results are ready when it was pushed.

    The memory is of one size however long the video is (0.26 MB for HyperSeg-3B) and stays where the backend lives. It
    is made from rows that stand before the texts, so it is the same whatever they ask, and texts may differ from
    frame to frame.
    """

    def __init__(self, stages: HypersegStages, tokenizer: Tokenizer) -> None:
        self._stages = stages
        self._tokenizer = tokenizer
        self._memory: Buffer | None = None
        self._frames = 0

    def push(self, frame_hwc_u8: np.ndarray, request: Expressions) -> list[FrameResults]:
        if not request.texts:
            raise InputError("a frame needs a text: what is to be segmented in it?")
        stages, texts = self._stages, request.texts
        prompts = [build_prompt(Task.VIDEO, text, self._tokenizer, stages.dims) for text in texts]
        frame = HypersegImage(stages, frame_hwc_u8, self._memory)
        states = list(frame.prefill(prompts))
        features, _ = frame.features()
        asked = [Asked(one, (text,), Task.VIDEO.value) for one, text in zip(states, texts, strict=True)]
        # Only the first prompt's hidden states hold the visual rows that the memory is made from.
        outputs = stages.decode_frame(features, states[0].hidden_states, [prompts[0]])
        with frame.trusted():
            first = begun(stages, frame, asked[0], outputs)
            found = finished(stages, [first, *(begun(stages, frame, later) for later in asked[1:])])
        self._memory, self._frames = outputs.memory, self._frames + 1
        return [FrameResults(self._frames - 1, tuple(found))]

    def finish(self) -> list[FrameResults]:
        return []
