"""HyperSeg's graph calls in order: perceive the image, read the prompt, decode the masks. Read this first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.families.hyperseg.caches import CacheLender, Caches
from hyperseg_runtime.families.hyperseg.image_inputs import HostImages
from hyperseg_runtime.families.hyperseg.llm_call import LlmCall, prefill_slots
from hyperseg_runtime.families.hyperseg.size_tables import SizeTables
from hyperseg_runtime.families.hyperseg.spec import (
    DECODED_MAPS,
    LATENTS,
    MASK_QUERIES,
    TOKENS,
    HypersegDimensions,
    cache_names,
)
from hyperseg_runtime.llm.packing import PackedPrompts
from hyperseg_runtime.llm.prompt import Dependencies, Prompt, SlotKind, row_numbers, starts_and_ends

SEGMENTATION_GRAPHS = ("image_encoder", "clip_encoder", "fvp", "llm", "pixel_decoder", "mask_decoder")
PREPROCESS_GRAPH, READOUT_GRAPH = "preprocess", "mask_readout"
"""For what the host does itself where tensors lie in its memory."""

IN_FLIGHT = 2
"""Requests whose work a device holds at once: one is handed over while the other is waited for."""
NUMBERS = 64
"""Sets of small numbers that stay on the device, such as the slots of a cache that are in use."""
NO_REGIONS: Mapping[Dependencies, Buffer] = {}


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
        self.caches = CacheLender(lambda: self.new_caches(1), IN_FLIGHT if backend.on_device else 1)
        self._numbers = lru_cache(NUMBERS)(lambda numbers: backend.upload(np.array(numbers, np.int64)))
        self._blocks = lru_cache(None)(lambda name: backend.upload(tables.table(name)[None]))

    def open_graphs(self) -> None:
        """Open what a segmentation needs now: a broken graph shows early, and no call's time includes it."""
        backend = self._backend
        apart = {PREPROCESS_GRAPH: backend.images_on_device, READOUT_GRAPH: backend.on_device}
        for name in (*SEGMENTATION_GRAPHS, *(name for name, used in apart.items() if used)):
            _ = self._graphs[name]

    def first_latents(self, batch: int) -> Buffer:
        """Perceiver latents of a single image or a first frame, (B, F, E) float32."""
        if batch == 1:
            return self._blocks(LATENTS)
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
        texts = [prompt.token_ids for prompt in prompts]
        if all(ids is not None for ids in texts):
            found = np.zeros((len(prompts), tokens, self.dims.width), np.float32)
            for own, ids in zip(found, texts, strict=True):
                own[: len(ids or ())] = self._tables.rows(TOKENS, ids or ())
            return self._backend.upload(found)
        target = self._backend.zeros(spec, {"batch": len(prompts), "tokens": tokens})
        visual = {SlotKind.IMAGE: image_tokens, SlotKind.PERCEIVER: fvp_tokens}
        for batch, prompt in enumerate(prompts):
            start = 0
            for slot in prompt.slots:
                if slot.token_ids:
                    text = self._backend.upload(self._tables.rows(TOKENS, slot.token_ids)[None])
                    self._backend.copy_rows(target, batch, start, text, 0)
                elif slot.kind is SlotKind.MASK_QUERIES:
                    self._backend.copy_rows(target, batch, start, self._blocks(MASK_QUERIES), 0)
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
        attended = prefill_slots(tokens, attended_lengths)
        return self.step(embeds, LlmCall(positions, attended, np.zeros(batch, np.int64), tokens), caches)

    def step(self, embeds: Buffer, call: LlmCall, caches: Caches) -> Buffer:
        """One call of the language model: hidden states (B, T, D); `caches` are updated in place."""
        return self._run("llm", self._llm_inputs(embeds, call, caches))["hidden_states"]

    def step_and_score(self, embeds: Buffer, call: LlmCall, caches: Caches, rows: Sequence[int]) -> Buffer:
        """The same to the next-token logits (B, V) of one row of each prompt, in one launch where launches count."""
        if self._answering is None:
            return self.score_tokens(self.step(embeds, call, caches), rows)
        inputs = {**self._llm_inputs(embeds, call, caches), "scored_rows": self._numbers(tuple(rows))}
        with span("llm"):
            return self._answering.run(inputs)["logits"]

    @cached_property
    def _answering(self) -> Graph | None:
        return self._backend.chained(self._graphs["llm"], self._graphs["lm_head"])

    def _llm_inputs(self, embeds: Buffer, call: LlmCall, caches: Caches) -> dict[str, Buffer]:
        return {
            "inputs_embeds": embeds,
            "position_ids": self._backend.upload(call.position_ids),
            "attended_slots": self._backend.upload(call.attended_slots),
            "slot_numbers": self._numbers(range(call.slots)),
            "write_indices": self._backend.upload(call.write_indices),
            **caches,
        }

    def call_of(self, packed: PackedPrompts) -> LlmCall:
        return LlmCall.of(packed, self._backend.slot_step, self.dims.context)

    @property
    def token_step(self) -> int:
        """See `backends.base.Backend`."""
        return self._backend.token_step

    def close(self) -> None:
        """Keep nothing any more; caches that are still lent go when their holders do."""
        self.caches.close()
        for kept in (self._numbers, self._blocks):
            kept.cache_clear()
        self._sizes.clear()

    def new_caches(self, batch: int) -> Caches:
        """Zeroed key/value buffers: a masked slot weighs 0, but 0 * NaN of fresh memory would be NaN."""
        specs = {tensor.name: tensor for tensor in self._graphs["llm"].spec.inputs}
        names = [name for layer in range(self.dims.layers) for name in cache_names(layer)[:2]]
        return {name: self._backend.zeros(specs[name], {"batch": batch}) for name in names}

    def score_tokens(self, hidden_states: Buffer, rows: Sequence[int]) -> Buffer:
        """Next-token logits (B, V) of one row of each prompt's hidden states (B, T, D)."""
        inputs = {"hidden_states": hidden_states, "scored_rows": self._numbers(tuple(rows))}
        return self._run("lm_head", inputs)["logits"]

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
        return self._decode(features, hidden_states, prompts, first_row, np.zeros((len(prompts), 1), np.int64))

    def decode_frame(self, features: ImageFeatures, hidden_states: Buffer, prompts: Sequence[Prompt]) -> MaskOutputs:
        """`decode` of a video frame: also makes the latents of the next frame (hyperseg-spec 7)."""
        remembered = np.stack([row_numbers(prompt.spans(SlotKind.PERCEIVER)) for prompt in prompts])
        return self._decode(features, hidden_states, prompts, 0, remembered)

    def _decode(
        self,
        features: ImageFeatures,
        hidden_states: Buffer,
        prompts: Sequence[Prompt],
        first_row: int,
        remembered: np.ndarray,
    ) -> MaskOutputs:
        rows = {
            "query_rows": np.stack([row_numbers(p.spans(SlotKind.MASK_QUERIES, first_row)) for p in prompts]),
            "condition_spans": np.stack([starts_and_ends(p.spans(SlotKind.CONDITION, first_row)) for p in prompts]),
            "remembered_rows": remembered,
        }
        uploaded = {name: self._backend.upload(numbers) for name, numbers in rows.items()}
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
