"""What is kept of one image between requests."""

from collections.abc import Mapping
from typing import Self

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.families.mask_queries.graph_specs import DECODED_MAPS
from hyperseg_runtime.families.mask_queries.state import Features, MaskQueryImage
from hyperseg_runtime.families.psalm.spec import IMAGE_TOKENS
from hyperseg_runtime.families.psalm.stages import PsalmStages


class PsalmImage(MaskQueryImage[PsalmStages]):
    """One encoder gives what the language model reads and what masks are made from: both are there at once.

    The rows of the image stand before all that is asked, so that any two prompts have them in common.
    """

    @classmethod
    def computed(cls, stages: PsalmStages, outputs: Mapping[str, Buffer], image_hw: tuple[int, int]) -> Self:
        """An image of this size whose graphs were run elsewhere; `outputs` by name."""
        state = cls(stages, None)
        state.hold(outputs[IMAGE_TOKENS], {name: outputs[name] for name in DECODED_MAPS}, image_hw)
        return state

    def _perceive(self, images: Buffer) -> Features:
        self._tokens, maps = self._stages.perceive(images)
        return maps

    def _read_tokens(self, images: Mapping[str, Buffer]) -> Buffer:
        self.features()
        return self.tokens()
