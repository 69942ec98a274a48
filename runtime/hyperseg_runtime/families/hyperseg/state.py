"""What is kept of one image between requests: its features and the key/value cache of its latest prompt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.errors import NumericsError
from hyperseg_runtime.families.hyperseg.stages import Caches, HypersegStages, ImageFeatures
from hyperseg_runtime.images.preprocessing import ImageGeometry, longest_side_square, plain_square
from hyperseg_runtime.llm.packing import PackedPrompts, pack
from hyperseg_runtime.llm.prompt import Prompt, Row, SlotKind
from hyperseg_runtime.timing import Stopwatch

NOT_FINITE = "the network produced NaN or infinite values; run verify: the weights or the precision are at fault"


@dataclass(frozen=True)
class Reading:
    """Hidden states (1, T, D) of a call that held `prompt`; its row 0 would lie at `first_row`."""

    prompt: Prompt
    hidden_states: Buffer
    first_row: int
    reused: int  # leading rows that the cache or the call's first prompt had already

    @property
    def last_row(self) -> np.ndarray:
        """Hidden state of the prompt's last token, (1, 1, D)."""
        row = self.first_row + self.prompt.length - 1
        return self.hidden_states.to_host()[:, row : row + 1]


class HypersegImage:
    """Each part is computed when first needed. Without an image (`None`) only text can be read.

    HyperSeg's visual rows depend on the image alone and stand before the user's text, so a prompt reuses the
    rows it has in common with the one before; causal attention makes that exact.
    """

    def __init__(self, stages: HypersegStages, image_hwc_u8: np.ndarray | None, latents: Buffer | None = None) -> None:
        """`latents` (1, F, E) are the memory of the frame before; None for a single image or a first frame."""
        self._stages = stages
        self._image = image_hwc_u8
        self._latents = latents
        self._tokens: Buffer | None = None
        self._features: tuple[ImageFeatures, ImageGeometry] | None = None
        self._caches: Caches | None = None
        self._held: tuple[Row, ...] = ()

    @property
    def has_image(self) -> bool:
        return self._image is not None

    @property
    def size_bytes(self) -> int:
        """Memory that is held now."""
        buffers = [self._tokens] if self._tokens else []
        if self._features:
            features, _ = self._features
            buffers += [features.fvp_tokens, *features.decoded_maps.values()]
        buffers += self._caches.values() if self._caches else []
        pixels = 0 if self._image is None else self._image.nbytes
        return pixels + sum(int(np.prod(buffer.shape)) * buffer.dtype.itemsize for buffer in buffers)

    def tokens(self, stopwatch: Stopwatch) -> Buffer:
        """Image tokens for the language model, (1, N, D)."""
        if self._tokens is None:
            with stopwatch.span("preprocess"):
                pixels = plain_square(self._given(), self._stages.dims.clip_image_px)[None]
            self._tokens = self._stages.clip_tokens(pixels, stopwatch)
        return self._tokens

    def features(self, stopwatch: Stopwatch) -> tuple[ImageFeatures, ImageGeometry]:
        """What masks are made from, and the way back to the image's size."""
        if self._features is None:
            with stopwatch.span("preprocess"):
                pixels, geometry = longest_side_square(self._given(), self._stages.dims.image_px)
            latents = self._latents or self._stages.first_latents(1)
            self._features = self._stages.perceive(pixels[None], latents, stopwatch), geometry
        return self._features

    def read(self, prompts: Sequence[Prompt], stopwatch: Stopwatch) -> Iterator[Reading]:
        """The hidden states of each prompt in turn, several prompts to a call of the language model."""
        for packed in pack(prompts, self._held, self._stages.dims.context):
            hidden = self._read(packed, stopwatch)
            for index, suffix in enumerate(packed.suffixes):
                yield Reading(suffix.prompt, hidden, packed.hidden_row(index), suffix.base)

    def _read(self, packed: PackedPrompts, stopwatch: Stopwatch) -> Buffer:
        prompt = packed.read()
        image_tokens = self.tokens(stopwatch) if prompt.spans(SlotKind.IMAGE) else None
        fvp_tokens = self.features(stopwatch)[0].fvp_tokens if prompt.spans(SlotKind.PERCEIVER) else None
        with stopwatch.span("assemble"):
            embeds = self._stages.assemble([prompt], image_tokens, fvp_tokens)
        caches = self._caches or self._stages.new_caches(1)
        self._caches, self._held = None, ()  # until the call went well
        hidden = self._stages.step(
            embeds,
            packed.position_ids(),
            packed.attention_mask(self._stages.dims.context),
            np.array([packed.first_slot], np.int64),
            caches,
            stopwatch,
        )
        if not np.isfinite(hidden.to_host()).all():
            raise NumericsError(NOT_FINITE)  # masked rows weigh 0, but 0 * NaN would reach the next prompt
        self._caches, self._held = caches, packed.suffixes[0].prompt.rows
        return hidden

    def _given(self) -> np.ndarray:
        if self._image is None:
            raise ValueError("this state was made without an image")
        return self._image
