"""The graph calls that families share: prepare the image, read the prompt, read the masks. Read this first."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.families.mask_queries.caches import CacheLender, Caches
from hyperseg_runtime.families.mask_queries.dimensions import MASK_QUERIES, TOKENS, MaskQueryDimensions
from hyperseg_runtime.families.mask_queries.encoder_images import HostImages
from hyperseg_runtime.families.mask_queries.graph_specs import cache_names
from hyperseg_runtime.families.mask_queries.llm_call import LlmCall, prefill_slots
from hyperseg_runtime.families.mask_queries.size_tables import SizeTables
from hyperseg_runtime.llm.packing import PackedPrompts
from hyperseg_runtime.llm.prompt import Dependencies, Prompt, Slot, SlotKind, row_numbers, starts_and_ends

PREPROCESS_GRAPH, READOUT_GRAPH = "preprocess", "mask_readout"
"""For what the host does itself where tensors lie in its memory."""

IN_FLIGHT = 2
"""Requests whose work a device holds at once: one is handed over while the other is waited for."""
NUMBERS = 64
"""Sets of small numbers that stay on the device, such as the slots of a cache that are in use."""
Blocks = Mapping[tuple[SlotKind, Dependencies], Buffer]
"""Rows of the slots that are no text, (B or 1, length, D), by kind and by what they depend on."""


class RowTables(Protocol):
    """Where the host's rows come from; see `bundle.tables.HostTables`."""

    def table(self, name: str) -> np.ndarray: ...

    def rows(self, name: str, indices: Sequence[int]) -> np.ndarray: ...


@dataclass(frozen=True)
class MaskOutputs:
    mask_logits: Buffer  # (B, Q, h, w)
    score_logits: Buffer  # (B, Q, K) of conditions that are expressions


@dataclass(frozen=True)
class ListedOutputs(MaskOutputs):
    """Of a decoder that also has heads for class lists and for regions."""

    class_logits: Buffer  # (B, Q, K) of conditions that are classes
    region_logits: Buffer  # (B, Q, K) of conditions that are regions
    reid_embeddings: Buffer | None = None  # (B, Q, C): objects of several frames are told apart by them

    def of_regions(self) -> Self:
        """The same where the conditions are regions: they are scored as expressions are, by another head."""
        return replace(self, score_logits=self.region_logits)


@dataclass(frozen=True)
class ReadMasks:
    """The best mask of each condition at the size of the image."""

    best_queries: Buffer  # (B, K)
    best_scores: Buffer  # (B, K)
    mask_bits: Buffer  # (B, K, H, ceil(W / 8)), see numpy.packbits
    finite: Buffer  # (B,): whether hidden states and logits are numbers


Dims = TypeVar("Dims", bound=MaskQueryDimensions)
Outputs = TypeVar("Outputs", bound=MaskOutputs, covariant=True)


class MaskQueryStages(ABC, Generic[Dims, Outputs]):
    """A family's graphs chained; holds no state between calls. `graphs` gives an opened graph by name; each call is a
    span of its graph's name (see `timing`).
    """

    segmentation_graphs: tuple[str, ...]
    """Names of those that a segmentation needs wherever it runs."""

    def __init__(self, dims: Dims, graphs: Mapping[str, Graph], tables: RowTables, backend: Backend) -> None:
        self.dims = dims
        self._graphs = graphs
        self._tables = tables
        self._backend = backend
        self._sizes = SizeTables(dims, backend.upload)
        self.caches = CacheLender(lambda: self.new_caches(1), IN_FLIGHT if backend.on_device else 1)
        self._numbers = lru_cache(NUMBERS)(lambda numbers: backend.upload(np.array(numbers, np.int64)))
        self._blocks = lru_cache(None)(lambda name: backend.upload(tables.table(name)[None]))

    @abstractmethod
    def decode(
        self, features: Mapping[str, Buffer], hidden_states: Buffer, prompts: Sequence[Prompt], first_row: int = 0
    ) -> Outputs:
        """Mask and score logits from the hidden states (B, T, D) of the same prompts.

        `features` are what the mask decoder takes of the image, by name. `first_row` is where the prompts' first row
        would lie in the hidden states: negative if leading rows came from a cache.
        """
        ...

    def open_graphs(self) -> None:
        """Open what a segmentation needs now: a broken graph shows early, and no call's time includes it."""
        backend = self._backend
        apart = {PREPROCESS_GRAPH: backend.images_on_device, READOUT_GRAPH: backend.on_device}
        for name in (*self.segmentation_graphs, *(name for name, used in apart.items() if used)):
            _ = self._graphs[name]

    def encoder_images(self, image_hwc_u8: np.ndarray) -> Mapping[str, Buffer]:
        """What the encoders take of an image, by the names of their inputs: made by the device of the pixels as they
        are, or by the host.
        """
        height, width = image_hwc_u8.shape[:2]
        sides = {"pixels_height": height, "pixels_width": width}
        if not (self._backend.images_on_device and self._holds(PREPROCESS_GRAPH, sides)):
            return HostImages(image_hwc_u8, self.dims.encoder_images, self._backend)
        return self.prepare(image_hwc_u8)

    def prepare(self, image_hwc_u8: np.ndarray) -> dict[str, Buffer]:
        """`encoder_images` by the graph."""
        height, width = image_hwc_u8.shape[:2]
        pixels = self._backend.upload(image_hwc_u8[None])
        return self._run(PREPROCESS_GRAPH, {"pixels": pixels, **self._sizes.of_preprocess((height, width))})

    def clip_tokens(self, images_clip: Buffer) -> Buffer:
        """images_clip (B, 3, C, C) float32 -> image tokens (B, N, D), all that a question needs."""
        return self._run("clip_encoder", {"images_clip": images_clip})["image_tokens"]

    def input_embeddings(self, prompts: Sequence[Prompt], blocks: Blocks, rows: int = 0) -> Buffer:
        """Language model input (B, T, D): slot after slot, zeros after the end of a prompt, T at least `rows`.

        `blocks` hold the rows of all slots but text and mask queries; those with a batch axis of 1 serve all prompts.
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
        for batch, prompt in enumerate(prompts):
            start = 0
            for slot in prompt.slots:
                if slot.length:
                    source = self._rows_of(slot, blocks)
                    self._backend.copy_rows(target, batch, start, source, batch if source.shape[0] > 1 else 0)
                start += slot.length
        return target

    def _rows_of(self, slot: Slot, blocks: Blocks) -> Buffer:
        if slot.depends_on is None:
            return self._backend.upload(self._tables.rows(TOKENS, slot.token_ids)[None])
        if slot.kind is SlotKind.MASK_QUERIES:
            return self._blocks(MASK_QUERIES)
        if (slot.kind, slot.depends_on) not in blocks:
            raise ValueError(f"nothing to fill the {slot.kind} slot with")
        return blocks[slot.kind, slot.depends_on]

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

    def read_out_inputs(self, hidden_states: Buffer, prompts: Sequence[Prompt], first_row: int) -> dict[str, Buffer]:
        """What every mask decoder is told of the hidden states."""
        rows = {
            "query_rows": np.stack([row_numbers(p.spans(SlotKind.MASK_QUERIES, first_row)) for p in prompts]),
            "condition_spans": np.stack([starts_and_ends(p.spans(SlotKind.CONDITION, first_row)) for p in prompts]),
        }
        return {"hidden_states": hidden_states, **{name: self.upload(numbers) for name, numbers in rows.items()}}

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
