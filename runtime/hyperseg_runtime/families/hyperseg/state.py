"""What is kept of one image between requests."""

from collections.abc import Mapping
from typing import Self

import numpy as np

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.families.hyperseg.stages import FVP_TOKENS, HypersegStages
from hyperseg_runtime.families.mask_queries.graph_specs import DECODED_MAPS
from hyperseg_runtime.families.mask_queries.state import Features, MaskQueryImage
from hyperseg_runtime.llm.prompt import Slot, SlotKind


class HypersegImage(MaskQueryImage[HypersegStages]):
    """HyperSeg's visual rows depend on the image alone and stand before the user's text, so that any two prompts
    have them in common.
    """

    def __init__(self, stages: HypersegStages, image_hwc_u8: np.ndarray | None, latents: Buffer | None = None) -> None:
        """`latents` (1, F, E) are the memory of the frame before; None for a single image or a first frame."""
        super().__init__(stages, image_hwc_u8)
        self._latents = latents

    @classmethod
    def computed(cls, stages: HypersegStages, outputs: Mapping[str, Buffer], image_hw: tuple[int, int]) -> Self:
        """An image of this size whose graphs were run elsewhere; `outputs` by name."""
        state = cls(stages, None)
        features = {name: outputs[name] for name in (FVP_TOKENS, *DECODED_MAPS)}
        state.hold(outputs["image_tokens"], features, image_hw)
        return state

    def _perceive(self, images: Buffer) -> Features:
        return self._stages.perceive(images, self._latents or self._stages.first_latents(1))

    def _read_tokens(self, images: Mapping[str, Buffer]) -> Buffer:
        return self._stages.clip_tokens(images["images_clip"])

    def _block(self, slot: Slot) -> Buffer | None:
        return self.features()[0][FVP_TOKENS] if slot.kind is SlotKind.PERCEIVER else super()._block(slot)
