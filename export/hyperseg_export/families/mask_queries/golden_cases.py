"""Steps of golden cases that families share: run the runtime's own stages on stored inputs and name what comes out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from hyperseg_export.families.mask_queries.golden_graphs import siglip_hidden_states
from hyperseg_export.modules.siglip import SiglipConfig
from hyperseg_export.parity.extra_graphs import ExtraGraph
from hyperseg_export.parity.golden import Arrays, Found, matching
from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_runtime.backends.base import Backend, Graph
from hyperseg_runtime.families.mask_queries.caches import Caches
from hyperseg_runtime.families.mask_queries.dimensions import TOKENS, MaskQueryDimensions
from hyperseg_runtime.families.mask_queries.graph_specs import STRIDES, cache_names
from hyperseg_runtime.families.mask_queries.llm_call import LlmCall
from hyperseg_runtime.families.mask_queries.stages import MaskQueryStages, RowTables
from hyperseg_runtime.heads.full_size import full_size
from hyperseg_runtime.heads.referring import all_queries, best_query
from hyperseg_runtime.images.preprocessing import ImageGeometry, fitted_size
from hyperseg_runtime.llm.prompt import IMAGE, Prompt, Slot, SlotKind

IMAGE_ID, MASK_QUERIES_ID, CLASS_ID, REGION_ID, EXPRESSION_ID, PERCEIVER_ID = -200, -201, -202, -203, -204, -205
"""Placeholder ids in the stored prompts."""

ROUNDING_STEPS = 32
"""In float32, of the largest logit; the worst difference from stored logits is 29 (tests/golden/instructseg)."""

Stages = TypeVar("Stages", bound=MaskQueryStages[Any, Any])


@dataclass(frozen=True)
class GoldenRun(Generic[Stages]):
    """One engine set up on one folder."""

    stages: Stages
    graphs: RecordingGraphs
    tables: RowTables
    backend: Backend
    open_extra: Callable[[ExtraGraph], Graph]

    def outputs(self, graph: str) -> dict[str, np.ndarray]:
        """Outputs and probes of the latest call."""
        return self.graphs.calls[graph][-1].outputs

    def run(self, graph: Graph, arrays: Arrays) -> dict[str, np.ndarray]:
        outputs = graph.run({name: self.backend.upload(array) for name, array in arrays.items()})
        return {name: buffer.to_host() for name, buffer in outputs.items()}

    def logits(self, state: np.ndarray) -> np.ndarray:
        """Next-token logits (1, V) of one hidden state (1, 1, D)."""
        return self.stages.score_tokens(self.backend.upload(np.ascontiguousarray(state)), [0]).to_host()


def count(arrays: Arrays, prefix: str) -> int:
    """Number of arrays named prefix0, prefix1, ..."""
    index = 0
    while f"{prefix}{index}" in arrays:
        index += 1
    return index


def with_packed_masks(found: Arrays, heads: int) -> dict[str, np.ndarray]:
    """Adds attention masks in the stored form: blocked places of every (image, head), packed to bits."""
    packed = dict(found)
    for index in range(count(found, "open")):
        blocked = np.repeat(~found[f"open{index}"], heads, axis=1)  # (B, heads, Q, h * w)
        blocked = blocked.reshape(-1, *blocked.shape[2:])
        packed[f"attn_mask{index}"] = np.packbits(blocked)
        packed[f"attn_mask{index}_shape"] = np.array(blocked.shape)
    return packed


def decoded_maps(outputs: Arrays) -> dict[str, np.ndarray]:
    """Outputs of the graph pixel_decoder, also by their golden names."""
    return {**outputs, **{f"multi_scale{i}": outputs[f"encoded_s{stride}"] for i, stride in enumerate(STRIDES)}}


def stored_prompt(ids: np.ndarray, slots: Mapping[int, Iterator[Slot]], dims: MaskQueryDimensions) -> Prompt:
    """Slots from ids with placeholders; end-of-text ids at the end are padding nobody attends to."""
    tokens: list[int] = ids.tolist()
    end = len(tokens)
    while end and tokens[end - 1] == dims.eos_token_id:
        end -= 1
    made = [next(slots[token]) if token in slots else Slot.text([token]) for token in tokens[:end]]
    if end < len(tokens):
        made.append(Slot.text(tokens[end:], SlotKind.END))
    return Prompt(tuple(made))


def expressions(*token_ids: np.ndarray) -> Iterator[Slot]:
    return iter([Slot.text(ids.tolist(), SlotKind.CONDITION) for ids in token_ids])


def geometry_of(arrays: Arrays) -> ImageGeometry:
    """The way back to the size of a case's final masks."""
    _, height, width = (int(extent) for extent in arrays["final_masks0_shape"])
    side = arrays["in_images"].shape[-1]
    return ImageGeometry((height, width), fitted_size(height, width, side), (side, side))


def final_masks(found: Arrays, arrays: Arrays) -> Found:
    """Masks and scores of the first sample at the original size. Stored order has no meaning: sort by score."""
    if "final_masks0_packed" not in arrays:
        return
    shape, geometry = tuple(arrays["final_masks0_shape"].tolist()), geometry_of(arrays)
    if "in_padding_mask" in arrays:
        inside = ~arrays["in_padding_mask"]
        valid = np.array([inside.any(1).sum(), inside.any(0).sum()])
        yield "in_padding_mask", np.array(geometry.valid_hw), valid
    stored = np.unpackbits(arrays["final_masks0_packed"])[: np.prod(shape)].reshape(shape).astype(bool)
    stored = stored[np.argsort(-arrays["final_scores0"], kind="stable")]
    open_ = open_pixels(arrays, geometry)
    logits, scores = found["pred_masks"][0], found["pred_SEG_logits"][0, :, 0]
    ours = sorted(all_queries(logits, scores, geometry), key=lambda scored: -scored.score)
    ours_scores = np.array([scored.score for scored in ours], np.float32)
    yield "final_scores0", ours_scores, -np.sort(-arrays["final_scores0"])
    masks = np.stack([scored.mask for scored in ours])
    yield "final_masks0_packed", np.where(open_, stored, masks), stored
    best = best_query(logits, scores, geometry)
    best_stored = arrays["best_mask0"].astype(bool)
    yield "best_mask0", np.where(open_[0], best_stored, best.mask), best_stored
    yield "best_score0", np.array([best.score], np.float32), arrays["best_score0"]


def open_pixels(arrays: Arrays, geometry: ImageGeometry) -> np.ndarray:
    """Where the stored logits do not say whether a pixel belongs to a mask, (Q, H, W) bool, best score first.

    A pixel belongs to a mask where its logit is above 0. A logit that is nearer to 0 than what rounding makes of the
    largest one has its sign from the order in which sums were made, and nobody else has that order.
    """
    logits, scores = arrays["pred_masks"][0], arrays["pred_SEG_logits"][0, :, 0]
    order = np.argsort([-scored.score for scored in all_queries(logits, scores, geometry)], kind="stable")
    return np.stack([np.abs(full_size(logits[query], geometry)) <= rounding(logits) for query in order])


def rounding(logits: np.ndarray) -> float:
    """What such logits may be off by in float32 when their sums are made in another order."""
    return float(ROUNDING_STEPS * np.finfo(np.float32).eps * np.abs(logits).max())


def siglip_layers(run: GoldenRun[Any], arrays: Arrays, siglip: SiglipConfig, stored_layers: int) -> Found:
    graph = run.open_extra(siglip_hidden_states(siglip, stored_layers))
    yield from matching(run.run(graph, {"images_clip": arrays["in_images_clip"]}), arrays)


def answer(run: GoldenRun[Any], arrays: Arrays) -> Found:
    """Prefill, one decode step, and greedy decoding to the end of the stored answer."""
    stages = run.stages
    dims: MaskQueryDimensions = stages.dims
    image = Slot.block(SlotKind.IMAGE, dims.image_tokens, IMAGE)
    prompt = stored_prompt(arrays["in_input_ids"][0], {IMAGE_ID: iter([image])}, dims)
    tokens = stages.clip_tokens(run.backend.upload(arrays["in_images_clip"]))
    embeds = stages.input_embeddings([prompt], {(SlotKind.IMAGE, IMAGE): tokens})
    caches = stages.new_caches(1)
    hidden = stages.prefill(embeds, [prompt.attended_length], caches).to_host()
    length = hidden.shape[1]
    logits = np.stack([run.logits(hidden[:, t : t + 1]) for t in range(length)], axis=1)
    found = {"inputs_embeds": embeds.to_host(), "prefill_logits": logits, **_caches(run, "prefill", length)}
    expected_ids = arrays["generated"][0, arrays["in_input_ids"].shape[1] :]
    generated, steps = [], [logits[:, -1]]
    for step in range(len(expected_ids)):
        generated.append(int(steps[-1][0].argmax()))
        state = _decode_one(run, generated[-1], length + step, caches)
        if step == 0:
            found.update(_caches(run, "step1", length + 1))
        steps.append(run.logits(state))
    found["step1_logits"] = steps[1][:, None]
    found["step_logits"] = np.concatenate(steps[: len(expected_ids)])
    found["generated"] = np.array([[*arrays["in_input_ids"][0], *generated]])
    top = np.sort(found["step_logits"], axis=1)
    found["argmax_margin"] = top[:, -1] - top[:, -2]
    yield from matching(found, arrays)


def _decode_one(run: GoldenRun[Any], token: int, position: int, caches: Caches) -> np.ndarray:
    """Hidden state (1, 1, D) after feeding one token at `position`."""
    embed = run.backend.upload(run.tables.rows(TOKENS, (token,))[None])
    at = np.array([position], np.int64)
    seen = np.array([[[[0, position + 1], [0, 0]]]], np.int64)
    state: np.ndarray = run.stages.step(embed, LlmCall(at[None], seen, at, position + 1), caches).to_host()
    return state


def _caches(run: GoldenRun[Any], prefix: str, length: int) -> dict[str, np.ndarray]:
    outputs = run.outputs("llm")
    found = {}
    for layer in range(run.stages.dims.layers):
        _, _, key, value = cache_names(layer)
        found[f"{prefix}_key{layer}"] = outputs[key][:, :, :length]
        found[f"{prefix}_value{layer}"] = outputs[value][:, :, :length]
    return found
