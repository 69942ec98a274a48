"""HyperSeg's golden cases: run the runtime's own stages on the stored inputs and name what comes out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.hyperseg.golden_graphs import all_heads
from hyperseg_export.families.mask_queries import golden_cases as shared
from hyperseg_export.families.mask_queries.golden_cases import (
    CLASS_ID,
    EXPRESSION_ID,
    IMAGE_ID,
    MASK_QUERIES_ID,
    PERCEIVER_ID,
    REGION_ID,
    final_masks,
    with_packed_masks,
)
from hyperseg_export.parity.extra_graphs import swin_at_size
from hyperseg_export.parity.golden import Arrays, Found, matching
from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.families.hyperseg.stages import FVP_TOKENS, HypersegStages
from hyperseg_runtime.families.mask_queries.prompts import mask_queries
from hyperseg_runtime.families.mask_queries.stages import Blocks
from hyperseg_runtime.images.preprocessing import longest_side_square, plain_square
from hyperseg_runtime.llm.prompt import IMAGE, Dependencies, Prompt, Slot, SlotKind


@dataclass(frozen=True)
class GoldenRun(shared.GoldenRun[HypersegStages]):
    config: HypersegConfig
    stored_siglip_layers: int


def segmentation(run: GoldenRun, arrays: Arrays) -> Found:
    """res_image, reasonseg_image, res_batch2, class_names, regions: from the image to scores and final masks."""
    found, _ = _segment(run, arrays, run.stages.first_latents(len(arrays["in_images"])))
    yield from matching(found, arrays)
    yield from final_masks(found, arrays)


def video(run: GoldenRun, arrays: Arrays) -> Found:
    """Frames one after another; each frame's memory is the next one's latents."""
    latents = run.stages.first_latents(1)
    frames = sorted({name.split("_")[0] for name in arrays}, key=lambda name: int(name[1:]))
    for frame in frames:
        prefix = f"{frame}_"
        own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
        found, memory = _segment(run, own, latents)
        for pairs in (matching(found, own), final_masks(found, own)):
            yield from ((prefix + name, value, expected) for name, value, expected in pairs)
        latents = memory


def swin_odd(run: GoldenRun, arrays: Arrays) -> Found:
    height, width = arrays["in_images"].shape[2:]
    graph = run.open_extra(swin_at_size(run.config.swin, (height, width)))
    yield from matching(run.run(graph, {"images": arrays["in_images"]}), arrays)


def siglip_layers(run: GoldenRun, arrays: Arrays) -> Found:
    return shared.siglip_layers(run, arrays, run.config.siglip, run.stored_siglip_layers)


def predictor_heads(run: GoldenRun, arrays: Arrays) -> Found:
    """The mask decoder alone, at another map size, with every head."""
    names = ("mask_features", "multi_scale0", "multi_scale1", "multi_scale2")
    finest, *levels = (tuple(arrays[f"in_{name}"].shape[2:]) for name in names)
    graph = run.open_extra(all_heads(run.config, finest, tuple(levels)))
    regions = [
        arrays[f"in_region_embedding{i}"] for i in range(shared.count(arrays, "in_region_embedding"))
    ]  # of different lengths
    most = max(len(rows) for rows in regions)
    padded = np.stack([np.pad(rows, ((0, most - len(rows)), (0, 0))) for rows in regions])
    given = {name: arrays[f"in_{name}"] for name in (*names, "seg_query", "SEG_embedding", "class_embedding")}
    found = run.run(graph, {**given, "region_embedding": padded})
    scores = found.pop("pred_region_logits")
    found.update({f"pred_region_logits{i}": scores[i, : len(rows)] for i, rows in enumerate(regions)})
    yield from matching(with_packed_masks(found, run.config.mask_decoder.heads), arrays)


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
        yield from matching(found, arrays)


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
    "vqa": shared.answer,
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
    blocks: Blocks = {
        (SlotKind.IMAGE, IMAGE): image_tokens,
        (SlotKind.PERCEIVER, IMAGE): features[FVP_TOKENS],
        **_regions(run, arrays),
    }
    embeds = stages.input_embeddings(prompts, blocks)
    attended = [prompt.attended_length for prompt in prompts]
    hidden = stages.prefill(embeds, attended, stages.new_caches(len(prompts)))
    outputs = stages.decode_frame(features, hidden, prompts)
    decoder = run.outputs("mask_decoder")
    found = {
        **_perceived(run),
        **{name: a for name, a in run.outputs("llm").items() if name.startswith("phi_layer")},
        **with_packed_masks(decoder, run.config.mask_decoder.heads),
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
        pixels, _ = longest_side_square(arrays["in_image_uint8"], stages.dims.image_px)
        found["in_images"] = pixels[None]
        found["in_images_clip"] = plain_square(arrays["in_image_uint8"], stages.dims.clip_image_px)[None]
    return found, outputs.memory


def _perceived(run: GoldenRun) -> dict[str, np.ndarray]:
    return {
        **run.outputs("image_encoder"),
        **run.outputs("clip_encoder"),
        **run.outputs("fvp"),
        **shared.decoded_maps(run.outputs("pixel_decoder")),
    }


def _prompts(run: GoldenRun, arrays: Arrays) -> list[Prompt]:
    prompts, dims = [], run.stages.dims
    for row, ids in enumerate(arrays["in_input_ids"]):
        name = "in_token_refer_id" if "in_token_refer_id" in arrays else f"in_token_refer_id{row}"
        conditions = [arrays[name]] if name in arrays else _class_ids(arrays, row)
        named = shared.expressions(*conditions)
        slots: dict[int, Iterator[Slot]] = {
            IMAGE_ID: repeat(Slot.block(SlotKind.IMAGE, dims.image_tokens, IMAGE)),
            PERCEIVER_ID: repeat(Slot.block(SlotKind.PERCEIVER, dims.perceiver_queries, IMAGE)),
            MASK_QUERIES_ID: repeat(mask_queries(dims)),
            EXPRESSION_ID: named,
            CLASS_ID: named,
            REGION_ID: iter([Slot.block(SlotKind.CONDITION, 1, key) for _, key in _regions(run, arrays)]),
        }
        prompts.append(shared.stored_prompt(ids, slots, dims))
    return prompts


def _regions(run: GoldenRun, arrays: Arrays) -> dict[tuple[SlotKind, Dependencies], Buffer]:
    """Rows of the regions: the original drew them at random, so they are inputs."""
    rows = arrays.get("region_tokens", np.zeros((0, 1, run.stages.dims.width), np.float32))
    return {
        (SlotKind.CONDITION, (*IMAGE, f"region {index}")): run.backend.upload(row[None])
        for index, row in enumerate(rows)
    }


def _class_ids(arrays: Arrays, row: int) -> list[np.ndarray]:
    if "in_class_name_ids" not in arrays:
        return []
    ids, owner = arrays["in_class_name_ids"][row], arrays["in_cls_indices"][row]
    return [ids[owner == index] for index in range(int(owner.max()) + 1)]
