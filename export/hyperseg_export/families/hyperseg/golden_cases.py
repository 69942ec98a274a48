"""HyperSeg's golden cases: run the runtime's own stages on the stored inputs and name what comes out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count

import numpy as np

from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.hyperseg.golden_graphs import all_heads, siglip_hidden_states
from hyperseg_export.parity.extra_graphs import ExtraGraph, swin_at_size
from hyperseg_export.parity.golden import Arrays
from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.families.hyperseg.caches import Caches
from hyperseg_runtime.families.hyperseg.llm_call import LlmCall
from hyperseg_runtime.families.hyperseg.spec import STRIDES, TOKENS, HypersegDimensions, cache_names
from hyperseg_runtime.families.hyperseg.stages import HypersegStages, RowTables
from hyperseg_runtime.heads.referring import all_queries, best_query
from hyperseg_runtime.images.preprocessing import ImageGeometry, fitted_size, longest_side_square, plain_square
from hyperseg_runtime.llm import prompt as prompts
from hyperseg_runtime.llm.prompt import Dependencies, Prompt, Slot, SlotKind

IMAGE, MASK_QUERIES, CLASS, REGION, EXPRESSION, PERCEIVER = -200, -201, -202, -203, -204, -205
"""Placeholder ids in the stored prompts."""

Found = Iterator[tuple[str, np.ndarray, np.ndarray]]
"""Array name, value found, value expected."""


@dataclass(frozen=True)
class GoldenRun:
    """One engine set up on one folder."""

    config: HypersegConfig
    dims: HypersegDimensions
    graphs: RecordingGraphs
    tables: RowTables
    backend: Backend
    open_extra: Callable[[ExtraGraph], Graph]
    stored_siglip_layers: int

    @property
    def stages(self) -> HypersegStages:
        return HypersegStages(self.dims, self.graphs, self.tables, self.backend)

    def outputs(self, graph: str) -> dict[str, np.ndarray]:
        """Outputs and probes of the latest call."""
        return self.graphs.calls[graph][-1].outputs


def segmentation(run: GoldenRun, arrays: Arrays) -> Found:
    """res_image, reasonseg_image, res_batch2, class_names, regions: from the image to scores and final masks."""
    found, _ = _segment(run, arrays, run.stages.first_latents(len(arrays["in_images"])))
    yield from _matching(found, arrays)
    yield from _final(found, arrays)


def video(run: GoldenRun, arrays: Arrays) -> Found:
    """Frames one after another; each frame's memory is the next one's latents."""
    latents = run.stages.first_latents(1)
    frames = sorted({name.split("_")[0] for name in arrays}, key=lambda name: int(name[1:]))
    for frame in frames:
        prefix = f"{frame}_"
        own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
        found, memory = _segment(run, own, latents)
        for pairs in (_matching(found, own), _final(found, own)):
            yield from ((prefix + name, value, expected) for name, value, expected in pairs)
        latents = memory


def swin_odd(run: GoldenRun, arrays: Arrays) -> Found:
    height, width = arrays["in_images"].shape[2:]
    graph = run.open_extra(swin_at_size(run.config.swin, (height, width)))
    yield from _matching(_run(run, graph, {"images": arrays["in_images"]}), arrays)


def siglip_layers(run: GoldenRun, arrays: Arrays) -> Found:
    graph = run.open_extra(siglip_hidden_states(run.config, run.stored_siglip_layers))
    yield from _matching(_run(run, graph, {"images_clip": arrays["in_images_clip"]}), arrays)


def predictor_heads(run: GoldenRun, arrays: Arrays) -> Found:
    """The mask decoder alone, at another map size, with every head."""
    names = ("mask_features", "multi_scale0", "multi_scale1", "multi_scale2")
    finest, *levels = (tuple(arrays[f"in_{name}"].shape[2:]) for name in names)
    graph = run.open_extra(all_heads(run.config, finest, tuple(levels)))
    regions = [
        arrays[f"in_region_embedding{i}"] for i in range(_count(arrays, "in_region_embedding"))
    ]  # of different lengths
    most = max(len(rows) for rows in regions)
    padded = np.stack([np.pad(rows, ((0, most - len(rows)), (0, 0))) for rows in regions])
    given = {name: arrays[f"in_{name}"] for name in (*names, "seg_query", "SEG_embedding", "class_embedding")}
    found = _run(run, graph, {**given, "region_embedding": padded})
    scores = found.pop("pred_region_logits")
    found.update({f"pred_region_logits{i}": scores[i, : len(rows)] for i, rows in enumerate(regions)})
    yield from _matching(_with_packed_masks(found, run.config.mask_decoder.heads), arrays)


def preprocess(run: GoldenRun, arrays: Arrays) -> Found:
    """Both encoders' inputs at the sizes the arrays were made for, every n-th pixel and one corner."""
    for name in sorted(array.removesuffix("_uint8") for array in arrays if array.endswith("_uint8")):
        image = arrays[f"{name}_uint8"]
        swin, geometry = longest_side_square(image, 8 * arrays[f"{name}_swin_sub8"].shape[-1])
        siglip = plain_square(image, 4 * arrays[f"{name}_siglip_sub4"].shape[-1])
        found = {
            f"{name}_valid_hw": np.array(geometry.valid_hw),
            f"{name}_swin_sub8": swin[:, ::8, ::8],
            f"{name}_siglip_sub4": siglip[:, ::4, ::4],
        }
        for tower, pixels in (("swin", swin), ("siglip", siglip)):
            side = arrays[f"{name}_{tower}_corner"].shape[-1]
            wide = pixels.astype(np.float64)
            found[f"{name}_{tower}_corner"] = pixels[:, :side, :side]
            found[f"{name}_{tower}_mean_std"] = np.array([wide.mean(), wide.std(ddof=1)])
        yield from _matching(found, arrays)


def vqa(run: GoldenRun, arrays: Arrays) -> Found:
    """Prefill, one decode step, and greedy decoding to the end of the stored answer."""
    stages = run.stages
    prompts = _prompts(run, arrays)
    tokens = stages.clip_tokens(run.backend.upload(arrays["in_images_clip"]))
    embeds = stages.input_embeddings(prompts, tokens, None)
    caches = stages.new_caches(1)
    hidden = stages.prefill(embeds, [prompts[0].attended_length], caches).to_host()
    length = hidden.shape[1]
    logits = np.stack([_logits(run, stages, hidden[:, t : t + 1]) for t in range(length)], axis=1)
    found = {"inputs_embeds": embeds.to_host(), "prefill_logits": logits, **_caches(run, "prefill", length)}
    expected_ids = arrays["generated"][0, arrays["in_input_ids"].shape[1] :]
    generated, steps = [], [logits[:, -1]]
    for step in range(len(expected_ids)):
        generated.append(int(steps[-1][0].argmax()))
        state = _decode_one(run, stages, generated[-1], length + step, caches)
        if step == 0:
            found.update(_caches(run, "step1", length + 1))
        steps.append(_logits(run, stages, state))
    found["step1_logits"] = steps[1][:, None]
    found["step_logits"] = np.concatenate(steps[: len(expected_ids)])
    found["generated"] = np.array([[*arrays["in_input_ids"][0], *generated]])
    top = np.sort(found["step_logits"], axis=1)
    found["argmax_margin"] = top[:, -1] - top[:, -2]
    yield from _matching(found, arrays)


CASES: Mapping[str, Callable[[GoldenRun, Arrays], Found]] = {
    "preprocess": preprocess,
    "siglip_layers": siglip_layers,
    "swin_odd": swin_odd,
    "predictor_heads": predictor_heads,
    "res_image": segmentation,
    "reasonseg_image": segmentation,
    "res_batch2": segmentation,
    "class_names": segmentation,
    "regions": segmentation,
    "video": video,
    "vqa": vqa,
}
SKIPPED_CASES = {
    "res_image_fp16_loaded": "the release's rounding of weights and tables to float16 is not reproduced",
}
SKIPPED_ARRAYS = {
    "half_pixel_mean": "the release's float16 constants are not reproduced",
    "half_pixel_std": "the release's float16 constants are not reproduced",
    "swin_half_sub8": "the release's float16 constants are not reproduced",
}
"""Ending of an array name -> why nothing here computes it."""


def reason_for(case: str, array: str) -> str | None:
    """Why a golden array has no counterpart; None for inputs and for what should have been computed."""
    return next((reason for ending, reason in SKIPPED_ARRAYS.items() if array.endswith(ending)), None)


def _segment(run: GoldenRun, arrays: Arrays, latents: Buffer) -> tuple[dict[str, np.ndarray], Buffer]:
    """Everything computed for one batch, by golden name, and the memory for a next frame."""
    stages = run.stages
    prompts = _prompts(run, arrays)
    features = stages.perceive(run.backend.upload(arrays["in_images"]), latents)
    image_tokens = stages.clip_tokens(run.backend.upload(arrays["in_images_clip"]))
    embeds = stages.input_embeddings(prompts, image_tokens, features.fvp_tokens, regions=_regions(run, arrays))
    attended = [prompt.attended_length for prompt in prompts]
    hidden = stages.prefill(embeds, attended, stages.new_caches(len(prompts)))
    outputs = stages.decode_frame(features, hidden, prompts)
    decoder = run.outputs("mask_decoder")
    found = {
        **_perceived(run),
        **{name: a for name, a in run.outputs("llm").items() if name.startswith("phi_layer")},
        **_with_packed_masks(decoder, run.config.mask_decoder.heads),
        "fvp_latents_in": latents.to_host(),
        "inputs_embeds": embeds.to_host(),
        "llm_attention_mask": np.arange(embeds.shape[1])[None] < np.array(attended)[:, None],
        "last_hidden_state": hidden.to_host(),
        "class_embedding_hidden": decoder["SEG_embedding_hidden"],
        "pred_class_name_logits": outputs.class_logits.to_host(),
        "region_embedding_hidden": decoder["SEG_embedding_hidden"][0],
        "region_embedding_256": decoder["region_embedding_256"][0],
        "pred_region_logits0": outputs.region_logits.to_host()[0].T,
        "pred_masks": outputs.mask_logits.to_host(),
        "pred_SEG_logits": outputs.score_logits.to_host(),
        "memory_out": outputs.memory.to_host(),
        "temporal_query_next": outputs.memory.to_host(),
    }
    if "in_image_uint8" in arrays:
        pixels, _ = longest_side_square(arrays["in_image_uint8"], run.dims.image_px)
        found["in_images"] = pixels[None]
        found["in_images_clip"] = plain_square(arrays["in_image_uint8"], run.dims.clip_image_px)[None]
    return found, outputs.memory


def _perceived(run: GoldenRun) -> dict[str, np.ndarray]:
    decoded = run.outputs("pixel_decoder")
    scales = {f"multi_scale{i}": decoded[f"encoded_s{stride}"] for i, stride in enumerate(STRIDES)}
    return {
        **run.outputs("image_encoder"),
        **run.outputs("clip_encoder"),
        **run.outputs("fvp"),
        **decoded,
        **scales,
    }


def _final(found: Arrays, arrays: Arrays) -> Found:
    """Masks and scores of the first sample at the original size. Stored order has no meaning: sort by score."""
    if "final_masks0_packed" not in arrays:
        return
    queries, height, width = (int(extent) for extent in arrays["final_masks0_shape"])
    shape, side = (queries, height, width), arrays["in_images"].shape[-1]
    geometry = ImageGeometry((height, width), fitted_size(height, width, side), (side, side))
    if "in_padding_mask" in arrays:
        inside = ~arrays["in_padding_mask"]
        valid = np.array([inside.any(1).sum(), inside.any(0).sum()])
        yield "in_padding_mask", np.array(geometry.valid_hw), valid
    stored = np.unpackbits(arrays["final_masks0_packed"])[: np.prod(shape)].reshape(shape)
    order = np.argsort(-arrays["final_scores0"], kind="stable")
    logits, scores = found["pred_masks"][0], found["pred_SEG_logits"][0, :, 0]
    ours = sorted(all_queries(logits, scores, geometry), key=lambda scored: -scored.score)
    ours_scores = np.array([scored.score for scored in ours], np.float32)
    yield "final_scores0", ours_scores, arrays["final_scores0"][order]
    masks = np.stack([scored.mask for scored in ours]).astype(np.uint8)
    yield "final_masks0_packed", masks, stored[order].astype(np.uint8)
    best = best_query(logits, scores, geometry)
    yield "best_mask0", best.mask, arrays["best_mask0"].astype(bool)
    yield "best_score0", np.array([best.score], np.float32), arrays["best_score0"]


def _matching(found: Arrays, arrays: Arrays) -> Found:
    """Pairs for every name that is in both."""
    for name in arrays:
        if name in found:
            yield name, found[name], arrays[name]


def _with_packed_masks(found: Arrays, heads: int) -> dict[str, np.ndarray]:
    """Adds attention masks in the stored form: blocked places of every (image, head), packed to bits."""
    packed = dict(found)
    for index in range(_count(found, "open")):
        blocked = np.repeat(~found[f"open{index}"], heads, axis=1)  # (B, heads, Q, h * w)
        blocked = blocked.reshape(-1, *blocked.shape[2:])
        packed[f"attn_mask{index}"] = np.packbits(blocked)
        packed[f"attn_mask{index}_shape"] = np.array(blocked.shape)
    return packed


def _prompts(run: GoldenRun, arrays: Arrays) -> list[Prompt]:
    prompts = []
    for row, ids in enumerate(arrays["in_input_ids"]):
        name = "in_token_refer_id" if "in_token_refer_id" in arrays else f"in_token_refer_id{row}"
        conditions = [arrays[name]] if name in arrays else _class_ids(arrays, row)
        prompts.append(_prompt(run, [int(i) for i in ids], [[int(i) for i in c] for c in conditions]))
    return prompts


def _regions(run: GoldenRun, arrays: Arrays) -> dict[Dependencies, Buffer]:
    """Rows of the regions: the original drew them at random, so they are inputs."""
    rows = arrays.get("region_tokens", np.zeros((0, 1, run.dims.width), np.float32))
    return {_region(index): run.backend.upload(row[None]) for index, row in enumerate(rows)}


def _region(index: int) -> Dependencies:
    return (*prompts.IMAGE, f"region {index}")


def _class_ids(arrays: Arrays, row: int) -> list[np.ndarray]:
    if "in_class_name_ids" not in arrays:
        return []
    ids, owner = arrays["in_class_name_ids"][row], arrays["in_cls_indices"][row]
    return [ids[owner == index] for index in range(int(owner.max()) + 1)]


def _prompt(run: GoldenRun, ids: list[int], conditions: list[list[int]]) -> Prompt:
    """Slots from ids with placeholders; end-of-text ids at the end are padding nobody attends to."""
    blocks = {
        IMAGE: (SlotKind.IMAGE, run.dims.image_tokens, prompts.IMAGE),
        PERCEIVER: (SlotKind.PERCEIVER, run.dims.perceiver_queries, prompts.IMAGE),
        MASK_QUERIES: (SlotKind.MASK_QUERIES, run.dims.mask_queries, prompts.LEARNED),
    }
    end = len(ids)
    while end and ids[end - 1] == run.dims.eos_token_id:
        end -= 1
    remaining = iter(conditions)
    regions = count()
    slots = []
    for token in ids[:end]:
        if token in (EXPRESSION, CLASS):
            slots.append(Slot.text(next(remaining), SlotKind.CONDITION))
        elif token == REGION:
            slots.append(Slot.block(SlotKind.CONDITION, 1, _region(next(regions))))
        elif token in blocks:
            slots.append(Slot.block(*blocks[token]))
        else:
            slots.append(Slot.text([token]))
    if end < len(ids):
        slots.append(Slot.text(ids[end:], SlotKind.END))
    return Prompt(tuple(slots))


def _run(run: GoldenRun, graph: Graph, arrays: Arrays) -> dict[str, np.ndarray]:
    outputs = graph.run({name: run.backend.upload(array) for name, array in arrays.items()})
    return {name: buffer.to_host() for name, buffer in outputs.items()}


def _logits(run: GoldenRun, stages: HypersegStages, state: np.ndarray) -> np.ndarray:
    """Next-token logits (1, V) of one hidden state (1, 1, D)."""
    return stages.score_tokens(run.backend.upload(np.ascontiguousarray(state)), [0]).to_host()


def _decode_one(run: GoldenRun, stages: HypersegStages, token: int, position: int, caches: Caches) -> np.ndarray:
    """Hidden state (1, 1, D) after feeding one token at `position`."""
    embed = run.backend.upload(run.tables.rows(TOKENS, (token,))[None])
    at = np.array([position], np.int64)
    seen = np.array([[[[0, position + 1], [0, 0]]]], np.int64)
    return stages.step(embed, LlmCall(at[None], seen, at, position + 1), caches).to_host()


def _caches(run: GoldenRun, prefix: str, length: int) -> dict[str, np.ndarray]:
    outputs = run.outputs("llm")
    found = {}
    for layer in range(run.dims.layers):
        _, _, key, value = cache_names(layer)
        found[f"{prefix}_key{layer}"] = outputs[key][:, :, :length]
        found[f"{prefix}_value{layer}"] = outputs[value][:, :, :length]
    return found


def _count(arrays: Arrays, prefix: str) -> int:
    """Number of arrays named prefix0, prefix1, ..."""
    index = 0
    while f"{prefix}{index}" in arrays:
        index += 1
    return index
