"""What is kept of one image between requests: its features and the key/value cache of its latest prompt."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.errors import NumericsError
from hyperseg_runtime.families.hyperseg.caches import Caches, LentCaches
from hyperseg_runtime.families.hyperseg.llm_call import LlmCall
from hyperseg_runtime.families.hyperseg.region_weights import region_weights
from hyperseg_runtime.families.hyperseg.spec import DECODED_MAPS
from hyperseg_runtime.families.hyperseg.stages import HypersegStages, ImageFeatures
from hyperseg_runtime.images.preprocessing import ImageGeometry, square_geometry
from hyperseg_runtime.llm.packing import PackedPrompts, pack
from hyperseg_runtime.llm.prompt import IMAGE, Dependencies, Prompt, Row, SlotKind


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
        self._caches: LentCaches | None = None
        self._held: tuple[Row, ...] = ()
        self._images: Mapping[str, Buffer] | None = None
        self._regions: dict[Dependencies, Buffer] = {}

    @classmethod
    def computed(
        cls, stages: HypersegStages, outputs: Mapping[str, Buffer], image_hw: tuple[int, int]
    ) -> "HypersegImage":
        """An image of this size whose graphs were run elsewhere; `outputs` by name."""
        state = cls(stages, None)
        state._tokens = outputs["image_tokens"]
        features = ImageFeatures(outputs["fvp_tokens"], {name: outputs[name] for name in DECODED_MAPS})
        state._features = features, square_geometry(*image_hw, stages.dims.image_px)
        return state

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
        buffers = [self._tokens] if self._tokens else []
        if self._features:
            features, _ = self._features
            buffers += [features.fvp_tokens, *features.decoded_maps.values()]
        buffers += self._caches.values() if self._caches else []
        pixels = 0 if self._image is None else self._image.nbytes
        return pixels + sum(int(np.prod(buffer.shape)) * buffer.dtype.itemsize for buffer in buffers)

    def tokens(self) -> Buffer:
        """Image tokens for the language model, (1, N, D)."""
        if self._tokens is None:
            self._tokens = self._stages.clip_tokens(self._encoder_images()["images_clip"])
            self._drop_images()
        return self._tokens

    def read_regions(self, masks: Sequence[np.ndarray]) -> list[Dependencies]:
        """What the slots of these regions, (H, W) bool, depend on; they can be read until the next call of this."""
        tokens = self.tokens().to_host()[0]
        weights = [region_weights(mask, len(tokens)) for mask in masks]
        keys = [(*IMAGE, sha256(of_region.tobytes()).hexdigest()) for of_region in weights]
        rows = (self._stages.upload((of_region @ tokens)[None, None]) for of_region in weights)
        self._regions = dict(zip(keys, rows, strict=True))
        return keys

    def features(self) -> tuple[ImageFeatures, ImageGeometry]:
        """What masks are made from, and the way back to the image's size."""
        if self._features is None:
            images = self._encoder_images()["images"]
            latents = self._latents or self._stages.first_latents(1)
            geometry = square_geometry(*self.hw, self._stages.dims.image_px)
            self._features = self._stages.perceive(images, latents), geometry
            self._drop_images()
        return self._features

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
        image_tokens = self.tokens() if prompt.spans(SlotKind.IMAGE) else None
        fvp_tokens = self.features()[0].fvp_tokens if prompt.spans(SlotKind.PERCEIVER) else None
        with span("input_embeddings"):
            embeds = self._stages.input_embeddings([prompt], image_tokens, fvp_tokens, packed.rows, self._regions)
        caches = self._caches or self._stages.caches.lend()
        caches.doubt()
        self._caches, self._held = None, ()  # until the call went well
        made = run(embeds, self._stages.call_of(packed), caches)
        self._caches, self._held = caches, packed.suffixes[0].prompt.rows
        return made

    def _encoder_images(self) -> Mapping[str, Buffer]:
        if self._images is None:
            self._images = self._stages.encoder_images(self._given())
        return self._images

    def _drop_images(self) -> None:
        """Once both encoders have seen them."""
        if self._tokens and self._features:
            self._images = None

    def _given(self) -> np.ndarray:
        if self._image is None:
            raise ValueError("this state was made without an image")
        return self._image
