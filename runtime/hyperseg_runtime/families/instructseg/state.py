"""What is kept of one image, or of one frame of a video, between requests."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self

import numpy as np

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.families.instructseg.stages import MASK_FEATURES, OVP_MEDIA, InstructsegStages
from hyperseg_runtime.families.mask_queries.state import Features, MaskQueryImage
from hyperseg_runtime.llm.prompt import IMAGE, Dependencies, Slot, SlotKind

TEXTS = 16
"""Expressions whose perceiver rows are kept of a frame: 1.3 MB each of the published model."""

TextIds = tuple[int, ...]


def view_keys(text_ids: TextIds, references: int) -> list[Dependencies]:
    """What the perceiver's rows of each reference depend on: the frame, and every token of the text."""
    return [(*IMAGE, f"reference {number}", str(text_ids)) for number in range(references)]


class InstructsegImage(MaskQueryImage[InstructsegStages]):
    """A key frame and its references, which are frames like it; an image alone is its own reference.

    The perceiver's rows of a reference were made with the text in view. They stand before the image in the prompt, so
    two texts share no more than the words before them.
    """

    def __init__(self, stages: InstructsegStages, image_hwc_u8: np.ndarray | None) -> None:
        super().__init__(stages, image_hwc_u8)
        self._others: Sequence[Self] = ()
        self._media: Buffer | None = None
        self._views: dict[TextIds, Buffer] = {}
        self._readable: dict[Dependencies, tuple[int, TextIds]] = {}

    @classmethod
    def computed(cls, stages: InstructsegStages, outputs: Mapping[str, Buffer], image_hw: tuple[int, int]) -> Self:
        """An image of this size whose graphs were run elsewhere; `outputs` by name."""
        state = cls(stages, None)
        state.hold(outputs["image_tokens"], {name: outputs[name] for name in MASK_FEATURES}, image_hw)
        state._media = outputs[OVP_MEDIA]
        return state

    @contextmanager
    def seen_with(self, others: Sequence[Self]) -> Iterator[None]:
        """In here these frames are its references, if there are any; prompts read with others are not reused."""
        self._others = others
        try:
            yield
        finally:
            self._others, self._readable = (), {}
            self._caches, self._held = None, ()

    @property
    def references(self) -> Sequence[Self]:
        return self._others or (self,)

    def views(self, texts: Sequence[TextIds]) -> list[list[Dependencies]]:
        """What the rows of each reference depend on, for each text; they can be read until the next call of this."""
        numbers = range(len(self.references))
        keys = [view_keys(ids, len(numbers)) for ids in texts]
        self._readable = {
            key: (number, ids)
            for ids, views in zip(texts, keys, strict=True)
            for key, number in zip(views, numbers, strict=True)
        }
        return keys

    def view(self, text_ids: TextIds) -> Buffer:
        """The perceiver's rows of this frame with this text in view, (1, F, D)."""
        if text_ids not in self._views:
            if self._media is None:
                self._media = self._stages.ovp_media(self.tokens())
            while len(self._views) >= TEXTS:
                del self._views[next(iter(self._views))]
            self._views[text_ids] = self._stages.view(self._media, text_ids)
        return self._views[text_ids]

    def release_masks(self) -> None:
        """Nothing asks for this frame's masks any more; as a reference of others it stays."""
        self._features = None

    def _held_buffers(self) -> Iterator[Buffer]:
        yield from super()._held_buffers()
        yield from self._views.values()
        if self._media:
            yield self._media

    def _perceive(self, images: Buffer) -> Features:
        return self._stages.perceive(images)

    def _read_tokens(self, images: Mapping[str, Buffer]) -> Buffer:
        return self._stages.clip_tokens(images["images_clip"])

    def _block(self, slot: Slot) -> Buffer | None:
        if slot.kind is not SlotKind.PERCEIVER:
            return super()._block(slot)
        number, text_ids = self._readable[slot.depends_on or ()]
        return self.references[number].view(text_ids)
