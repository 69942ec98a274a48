"""HyperSeg's graph calls in order: perceive the image, read the prompt, decode the masks. Read this first."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.errors import NumericsError
from hyperseg_runtime.families.hyperseg.image_inputs import HostImages
from hyperseg_runtime.families.hyperseg.size_tables import SizeTables
from hyperseg_runtime.families.hyperseg.spec import (
    DECODED_MAPS,
    LATENTS,
    MASK_QUERIES,
    TOKENS,
    HypersegDimensions,
    cache_names,
)
from hyperseg_runtime.llm.prompt import Dependencies, Prompt, SlotKind, average_rows, pick_rows

SEGMENTATION_GRAPHS = ("image_encoder", "clip_encoder", "fvp", "llm", "pixel_decoder", "mask_decoder")
PREPROCESS_GRAPH, READOUT_GRAPH = "preprocess", "mask_readout"
"""For what the host does itself where tensors lie in its memory."""

NO_REGIONS: Mapping[Dependencies, Buffer] = {}
Caches = dict[str, Buffer]
"""Key/value buffers by input name; one set belongs to one batch of prompts."""


class LentCaches(Caches):
    """They go back to the lender when nobody holds them any more, if what they hold is known to be numbers."""

    def __init__(self, buffers: Caches, give_back: Callable[[Caches], None]) -> None:
        super().__init__(buffers)
        self._give_back = give_back
        self._return: weakref.finalize[[Caches], LentCaches] | None = None
        self.trust()

    def trust(self) -> None:
        """What was written last was read and is numbers."""
        if self._return is None:
            self._return = weakref.finalize(self, self._give_back, dict(self))
            self._return.atexit = False

    def doubt(self) -> None:
        """They are written to: until somebody has read the result nobody else gets them."""
        if self._return is not None:
            self._return.detach()
            self._return = None


class RowTables(Protocol):
    """Where the host's rows come from; see `bundle.tables.HostTables`."""

    def table(self, name: str) -> np.ndarray: ...

    def rows(self, name: str, indices: Sequence[int]) -> np.ndarray: ...


@dataclass(frozen=True)
class ImageFeatures:
    """What the mask branch takes from the image; depends on nothing else."""

    fvp_tokens: Buffer  # (B, F, D)
    decoded_maps: Mapping[str, Buffer]  # what the mask decoder takes from the pixel decoder


@dataclass(frozen=True)
class MaskOutputs:
    mask_logits: Buffer  # (B, Q, h, w)
    score_logits: Buffer  # (B, Q, K) of conditions that are expressions
    memory: Buffer  # (B, F, E) latents of the next frame from `decode_frame`, else (B, 1, E) without meaning
    class_logits: Buffer  # (B, Q, K) of conditions that are classes
    region_logits: Buffer  # (B, Q, K) of conditions that are regions

    def of_regions(self) -> "MaskOutputs":
        """The same where the conditions are regions: they are scored as expressions are, by another head."""
        return replace(self, score_logits=self.region_logits)


@dataclass(frozen=True)
class ReadMasks:
    """The best mask of each condition at the size of the image."""

    best_queries: Buffer  # (B, K)
    best_scores: Buffer  # (B, K)
    mask_bits: Buffer  # (B, K, H, ceil(W / 8)), see numpy.packbits
    finite: Buffer  # (B,): whether hidden states and logits are numbers


class HypersegStages:
    """The nine graphs chained; holds no state between calls. `graphs` gives an opened graph by name; each call is a
    span of its graph's name (see `timing`).
    """

    def __init__(
        self, dims: HypersegDimensions, graphs: Mapping[str, Graph], tables: RowTables, backend: Backend
    ) -> None:
        self.dims = dims
        self._graphs = graphs
        self._tables = tables
        self._backend = backend
        self._sizes = SizeTables(dims, backend.upload)
        self._spare: Caches | None = None
        self._closed = False

    def open_graphs(self) -> None:
        """Open what a segmentation needs now: a broken graph shows early, and no call's time includes it."""
        backend = self._backend
        apart = {PREPROCESS_GRAPH: backend.images_on_device, READOUT_GRAPH: backend.on_device}
        for name in (*SEGMENTATION_GRAPHS, *(name for name, used in apart.items() if used)):
            _ = self._graphs[name]

    def first_latents(self, batch: int) -> Buffer:
        """Perceiver latents of a single image or a first frame, (B, F, E) float32."""
        return self._backend.upload(np.repeat(self._tables.table(LATENTS)[None], batch, axis=0))

    def encoder_images(self, image_hwc_u8: np.ndarray) -> Mapping[str, Buffer]:
        """What the encoders take of an image, by the names of their inputs: made by the device of the pixels as they
        are, or by the host.
        """
        height, width = image_hwc_u8.shape[:2]
        sides = {"pixels_height": height, "pixels_width": width}
        if not (self._backend.images_on_device and self._holds(PREPROCESS_GRAPH, sides)):
            return HostImages(image_hwc_u8, self.dims, self._backend)
        return self.prepare(image_hwc_u8)

    def prepare(self, image_hwc_u8: np.ndarray) -> dict[str, Buffer]:
        """`encoder_images` by the graph."""
        height, width = image_hwc_u8.shape[:2]
        pixels = self._backend.upload(image_hwc_u8[None])
        return self._run(PREPROCESS_GRAPH, {"pixels": pixels, **self._sizes.of_preprocess((height, width))})

    def perceive(self, images: Buffer, latents: Buffer) -> ImageFeatures:
        """images (B, 3, S, S) and latents (B, F, E), float32."""
        maps = self._run("image_encoder", {"images": images})
        coarse = {name: maps[name] for name in ("res3", "res4", "res5")}
        fvp = self._run("fvp", {**coarse, "latents": latents})
        pyramid = {name: maps[name] for name in ("res2", "res3", "res4", "res5")}
        decoded = self._run("pixel_decoder", pyramid)
        handed_on = {name: decoded[name] for name in DECODED_MAPS}
        return ImageFeatures(fvp["fvp_tokens"], handed_on)

    def clip_tokens(self, images_clip: Buffer) -> Buffer:
        """images_clip (B, 3, C, C) float32 -> image tokens (B, N, D), all that a question needs."""
        return self._run("clip_encoder", {"images_clip": images_clip})["image_tokens"]

    def input_embeddings(
        self,
        prompts: Sequence[Prompt],
        image_tokens: Buffer | None,
        fvp_tokens: Buffer | None,
        rows: int = 0,
        regions: Mapping[Dependencies, Buffer] = NO_REGIONS,
    ) -> Buffer:
        """Language model input (B, T, D): slot after slot, zeros after the end of a prompt, T at least `rows`.

        `regions`: the row (1, 1, D) of each region by what its slot depends on.
        """
        spec = self._graphs["llm"].spec.inputs[0]
        tokens = max(rows, *(prompt.length for prompt in prompts))
        target = self._backend.zeros(spec, {"batch": len(prompts), "tokens": tokens})
        queries = self._backend.upload(self._tables.table(MASK_QUERIES)[None])
        visual = {SlotKind.IMAGE: image_tokens, SlotKind.PERCEIVER: fvp_tokens}
        for batch, prompt in enumerate(prompts):
            start = 0
            for slot in prompt.slots:
                if slot.token_ids:
                    text = self._backend.upload(self._tables.rows(TOKENS, slot.token_ids)[None])
                    self._backend.copy_rows(target, batch, start, text, 0)
                elif slot.kind is SlotKind.MASK_QUERIES:
                    self._backend.copy_rows(target, batch, start, queries, 0)
                elif (region := regions.get(slot.depends_on or ())) is not None:
                    self._backend.copy_rows(target, batch, start, region, 0)
                elif (source := visual.get(slot.kind)) is not None:
                    self._backend.copy_rows(target, batch, start, source, batch)
                else:
                    raise ValueError(f"nothing to fill the {slot.kind} slot with")
                start += slot.length
        return target

    def prefill(self, embeds: Buffer, attended_lengths: Sequence[int], caches: Caches) -> Buffer:
        """Prefill from the start of the caches: inputs (B, T, D) -> hidden states (B, T, D).

        `attended_lengths` are the leading rows of each prompt that may be attended to.
        """
        batch, tokens, _ = embeds.shape
        positions = np.repeat(np.arange(tokens, dtype=np.int64)[None], batch, axis=0)
        mask = prefill_mask(tokens, self.dims.context, attended_lengths)
        return self.step(embeds, positions, mask, np.zeros(batch, np.int64), caches)

    def step(
        self,
        embeds: Buffer,
        position_ids: np.ndarray,
        attention_mask: np.ndarray,
        write_indices: np.ndarray,
        caches: Caches,
    ) -> Buffer:
        """One call of the language model: hidden states (B, T, D); `caches` are updated in place."""
        inputs: dict[str, Buffer] = {
            "inputs_embeds": embeds,
            "position_ids": self._backend.upload(position_ids),
            "attention_mask": self._backend.upload(attention_mask),
            "write_indices": self._backend.upload(write_indices),
            **caches,
        }
        return self._run("llm", inputs)["hidden_states"]

    @property
    def token_step(self) -> int:
        """See `backends.base.Backend`."""
        return self._backend.token_step

    def lent_caches(self) -> LentCaches:
        """Key/value buffers for one prompt. Those of an image that is gone are lent again as they are: what they hold
        are numbers, which are masked, and calls that were recorded with their addresses stay valid. One set is kept.
        """
        buffers, self._spare = self._spare or self.new_caches(1), None
        return LentCaches(buffers, self._take_back)

    def _take_back(self, buffers: Caches) -> None:
        self._spare = None if self._closed else buffers

    def close(self) -> None:
        """Keep nothing any more; caches that are still lent go when their holders do."""
        self._closed, self._spare = True, None
        self._sizes.clear()

    def new_caches(self, batch: int) -> Caches:
        """Zeroed key/value buffers: a masked slot weighs 0, but 0 * NaN of fresh memory would be NaN."""
        specs = {tensor.name: tensor for tensor in self._graphs["llm"].spec.inputs}
        names = [name for layer in range(self.dims.layers) for name in cache_names(layer)[:2]]
        return {name: self._backend.zeros(specs[name], {"batch": batch}) for name in names}

    def score_tokens(self, hidden: Buffer) -> Buffer:
        """Next-token logits (B, V) of hidden states (B, 1, D)."""
        return self._run("lm_head", {"hidden": hidden})["logits"]

    def row(self, hidden_states: Buffer, row: int) -> Buffer:
        """One row of hidden states (B, T, D) as (B, 1, D), where it lies if there is no other. Raises NumericsError."""
        if hidden_states.shape[1] == 1:
            return hidden_states
        values = hidden_states.to_host()
        if not np.isfinite(values).all():
            raise NumericsError()
        return self._backend.upload(values[:, row : row + 1])

    def decode(
        self,
        features: ImageFeatures,
        hidden_states: Buffer,
        prompts: Sequence[Prompt],
        first_row: int = 0,
    ) -> MaskOutputs:
        """Mask and score logits from the hidden states (B, T, D) of the same prompts.

        `first_row` is where the prompts' first row would lie in the hidden states: negative if leading rows
        came from a cache.
        """
        nothing = np.zeros((len(prompts), 1, hidden_states.shape[1]), np.float32)
        return self._decode(features, hidden_states, prompts, first_row, nothing)

    def decode_frame(self, features: ImageFeatures, hidden_states: Buffer, prompts: Sequence[Prompt]) -> MaskOutputs:
        """`decode` of a video frame: also makes the latents of the next frame (hyperseg-spec 7)."""
        tokens = hidden_states.shape[1]
        memory = np.stack([pick_rows(p.spans(SlotKind.PERCEIVER), tokens) for p in prompts])
        return self._decode(features, hidden_states, prompts, 0, memory)

    def _decode(
        self,
        features: ImageFeatures,
        hidden_states: Buffer,
        prompts: Sequence[Prompt],
        first_row: int,
        memory_pooling: np.ndarray,
    ) -> MaskOutputs:
        tokens = hidden_states.shape[1]
        queries = [pick_rows(p.spans(SlotKind.MASK_QUERIES, first_row), tokens) for p in prompts]
        conditions = [average_rows(p.spans(SlotKind.CONDITION, first_row), tokens) for p in prompts]
        pooling = {
            "query_pooling": np.stack(queries),
            "condition_pooling": np.stack(conditions),
            "memory_pooling": memory_pooling,
        }
        uploaded = {name: self._backend.upload(matrix) for name, matrix in pooling.items()}
        inputs = {**features.decoded_maps, "hidden_states": hidden_states, **uploaded}
        outputs = self._run("mask_decoder", inputs)
        names = ("mask_logits", "score_logits", "memory", "class_logits", "region_logits")
        return MaskOutputs(*(outputs[name] for name in names))

    def reads_masks(self, outputs: MaskOutputs, image_hw: tuple[int, int]) -> bool:
        """Whether `read_masks` reads these: a host has its logits at hand and a quicker search (heads.referring)."""
        sizes = {"image_height": image_hw[0], "image_width": image_hw[1], "conditions": outputs.score_logits.shape[2]}
        return self._backend.on_device and self._holds(READOUT_GRAPH, sizes)

    def read_masks(self, outputs: MaskOutputs, hidden_states: Buffer, image_hw: tuple[int, int]) -> ReadMasks:
        """At the size of the image; `hidden_states` are looked at for what is no number."""
        logits = {"mask_logits": outputs.mask_logits, "score_logits": outputs.score_logits}
        tables = self._sizes.of_mask_readout(image_hw)
        found = self._run(READOUT_GRAPH, {**logits, "hidden_states": hidden_states, **tables})
        return ReadMasks(found["best_queries"], found["best_scores"], found["mask_bits"], found["finite"])

    def upload(self, array: np.ndarray) -> Buffer:
        """See `backends.base.Backend`."""
        return self._backend.upload(array)

    def to_host(self, buffers: Sequence[Buffer]) -> list[np.ndarray]:
        """See `backends.base.Backend`."""
        return self._backend.to_host(buffers)

    def _holds(self, graph: str, sizes: Mapping[str, int]) -> bool:
        limits = self._graphs[graph].spec.axis_ranges
        return all(size <= limits[axis].maximum for axis, size in sizes.items())

    def _run(self, graph: str, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        opened = self._graphs[graph]  # opening, if this is the first use, is not the stage's time
        with span(graph):
            return opened.run(inputs)


def prefill_mask(tokens: int, context: int, attended_lengths: Sequence[int]) -> np.ndarray:
    """Who may attend to which cache slot during a prefill, (B, 1, T, context) bool.

    Row t sees slots 0..t that hold an attended row. Slot 0 always does, so no row is empty.
    """
    causal = np.arange(context)[None, :] <= np.arange(tokens)[:, None]
    valid = np.arange(context)[None, :] < np.asarray(attended_lengths)[:, None]
    return causal[None, None] & valid[:, None, None]
