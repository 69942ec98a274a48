"""What is kept of one image between requests: its features and the key/value cache of its latest prompt."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Generic, TypeVar

import numpy as np

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.errors import NumericsError
from hyperseg_runtime.families.mask_queries.caches import Caches, LentCaches
from hyperseg_runtime.families.mask_queries.llm_call import LlmCall
from hyperseg_runtime.families.mask_queries.stages import MaskQueryStages
from hyperseg_runtime.images.preprocessing import ImageGeometry, square_geometry
from hyperseg_runtime.llm.packing import PackedPrompts, pack
from hyperseg_runtime.llm.prompt import IMAGE, Dependencies, Prompt, Row, Slot, SlotKind


@dataclass(frozen=True)
class PromptStates:
    """Hidden states (1, T, D) of a call that held `prompt`; its row 0 would lie at `first_row`."""

    prompt: Prompt
    hidden_states: Buffer
    first_row: int
    reused: int  # leading rows that the cache or the call's first prompt had already

    @property
    def own_rows(self) -> slice:
        """Of the hidden states: those that the call made for this prompt."""
        return slice(self.first_row + self.reused, self.first_row + self.prompt.length)

    @property
    def last_row(self) -> int:
        """Of the hidden states: that of the prompt's last token."""
        return self.first_row + self.prompt.length - 1


Features = Mapping[str, Buffer]
"""What later graphs take of an image, by name; depends on nothing else."""
Stages = TypeVar("Stages", bound=MaskQueryStages[Any, Any])


class MaskQueryImage(ABC, Generic[Stages]):
    """Each part is computed when first needed. Without an image (`None`) only text can be read.

    A prompt reuses the rows it has in common with the one before; causal attention makes that exact.
    """

    def __init__(self, stages: Stages, image_hwc_u8: np.ndarray | None) -> None:
        self._stages = stages
        self._image = image_hwc_u8
        self._tokens: Buffer | None = None
        self._features: tuple[Features, ImageGeometry] | None = None
        self._caches: LentCaches | None = None
        self._held: tuple[Row, ...] = ()
        self._images: Mapping[str, Buffer] | None = None
        self._regions: dict[Dependencies, Buffer] = {}

    def hold(self, tokens: Buffer, features: Features, image_hw: tuple[int, int]) -> None:
        """Take what the graphs of an image of this size gave elsewhere."""
        self._tokens = tokens
        self._features = features, square_geometry(*image_hw, self._stages.dims.image_px)

    @abstractmethod
    def _perceive(self, images: Buffer) -> Features:
        """What masks are made from, (1, 3, S, S) float32."""
        ...

    @abstractmethod
    def _read_tokens(self, images: Mapping[str, Buffer]) -> Buffer:
        """What the language model sees of the image, (1, N, D)."""
        ...

    @property
    def has_image(self) -> bool:
        return self._image is not None or self._features is not None

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        if self._features is not None:
            return self._features[1].original_hw
        height, width = self._given().shape[:2]
        return height, width

    @property
    def size_bytes(self) -> int:
        """Memory that is held now."""
        pixels = 0 if self._image is None else self._image.nbytes
        return pixels + sum(math.prod(b.shape) * b.dtype.itemsize for b in self._held_buffers())

    def _held_buffers(self) -> Iterator[Buffer]:
        if self._tokens:
            yield self._tokens
        if self._features:
            yield from self._features[0].values()
        if self._caches:
            yield from self._caches.values()

    def tokens(self) -> Buffer:
        """Image tokens for the language model, (1, N, D)."""
        if self._tokens is None:
            self._tokens = self._read_tokens(self._encoder_images())
            self._drop_images()
        return self._tokens

    def hold_regions(self, rows: Sequence[np.ndarray]) -> list[Dependencies]:
        """What the slots of regions depend on whose rows (D,) float32 these are; they can be read until the next call
        of this.
        """
        keys = [(*IMAGE, sha256(row.tobytes()).hexdigest()) for row in rows]
        uploaded = (self._stages.upload(row[None, None]) for row in rows)
        self._regions = dict(zip(keys, uploaded, strict=True))
        return keys

    def features(self) -> tuple[Features, ImageGeometry]:
        """What masks are made from, and the way back to the image's size."""
        if self._features is None:
            geometry = square_geometry(*self.hw, self._stages.dims.image_px)
            self._features = self._perceive(self._encoder_images()["images"]), geometry
            self._drop_images()
        return self._features

    def _block(self, slot: Slot) -> Buffer | None:
        """Rows (1, length, D) of a slot that is neither text nor mask queries; None where nothing fills it."""
        if slot.kind is SlotKind.IMAGE:
            return self.tokens()
        return self._regions.get(slot.depends_on or ())

    @contextmanager
    def trusted(self) -> Iterator[None]:
        """Whoever reads what `prefill` made does it in here: where that is no number, the caches are thrown away.
        Masked rows weigh 0, but 0 * NaN would reach the next prompt.
        """
        try:
            yield
        except NumericsError:
            self._caches, self._held = None, ()
            raise
        if self._caches:
            self._caches.trust()

    def prefill(self, prompts: Sequence[Prompt]) -> Iterator[PromptStates]:
        """The hidden states of each prompt in turn, several prompts to a call of the language model."""
        for packed in pack(prompts, self._held, self._stages.dims.context):
            hidden = self._call(packed, self._stages.step)
            for index, suffix in enumerate(packed.suffixes):
                yield PromptStates(suffix.prompt, hidden, packed.hidden_row(index), suffix.base)

    def next_logits(self, prompt: Prompt) -> tuple[Buffer, int]:
        """Logits (1, V) of the token that follows a prompt, and how many of its rows were there before. A logit that is
        no number comes of any row that it sees."""
        (packed,) = pack([prompt], self._held, self._stages.dims.context)
        row = packed.hidden_row(0) + prompt.length - 1

        def score(embeds: Buffer, call: LlmCall, caches: Caches) -> Buffer:
            return self._stages.step_and_score(embeds, call, caches, [row])

        return self._call(packed, score), packed.suffixes[0].base

    def _call(self, fitting: PackedPrompts, run: Callable[[Buffer, LlmCall, Caches], Buffer]) -> Buffer:
        """What `run` makes of a call of the language model, which is filled up as the backend wants it."""
        packed = fitting.padded(self._stages.token_step, self._stages.dims.context)
        prompt = packed.new_rows()
        blocks = dict(self._blocks(prompt))
        with span("input_embeddings"):
            embeds = self._stages.input_embeddings([prompt], blocks, packed.rows)
        caches = self._caches or self._stages.caches.lend()
        caches.doubt()
        self._caches, self._held = None, ()  # until the call went well
        made = run(embeds, self._stages.call_of(packed), caches)
        self._caches, self._held = caches, packed.suffixes[0].prompt.rows
        return made

    def _blocks(self, prompt: Prompt) -> Iterator[tuple[tuple[SlotKind, Dependencies], Buffer]]:
        for slot in prompt.slots:
            if slot.depends_on is None or slot.kind is SlotKind.MASK_QUERIES:
                continue
            rows = self._block(slot)
            if rows is not None:
                yield (slot.kind, slot.depends_on), rows

    def _encoder_images(self) -> Mapping[str, Buffer]:
        if self._images is None:
            self._images = self._stages.encoder_images(self._given())
        return self._images

    def _drop_images(self) -> None:
        """Once all encoders have seen them."""
        if self._tokens and self._features:
            self._images = None

    def _given(self) -> np.ndarray:
        if self._image is None:
            raise ValueError("this state was made without an image")
        return self._image
