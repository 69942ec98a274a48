"""PSALM's golden cases: run the runtime's own stages on the stored inputs and name what comes out."""

from collections.abc import Callable, Mapping

import numpy as np

from hyperseg_export.families.mask_queries import golden_cases as shared
from hyperseg_export.families.mask_queries.golden_cases import with_packed_masks
from hyperseg_export.families.psalm.golden_results import (
    expression_results,
    geometry_of,
    list_results,
    region_results,
    unpacked,
)
from hyperseg_export.families.psalm.golden_run import GoldenRun, conditions_of, counted_points
from hyperseg_export.families.psalm.golden_video import davis
from hyperseg_export.parity.golden import Arrays, Found, matching
from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.contracts.requests import Regions
from hyperseg_runtime.families.psalm.region_points import region_pixels, token_weights
from hyperseg_runtime.images.preprocessing import ImageGeometry, longest_side_square, square_geometry
from hyperseg_runtime.images.regions import region_masks
from hyperseg_runtime.llm.prompt import IMAGE, Dependencies, SlotKind

STORED = ("_uint8", "_shape", "_raw", "_points", "gt_masks", "gt_masks_packed", "vp_source_frame", "first_frame_masks")
"""Endings of what is stored beside the results: what they were computed from, and shapes of packed arrays."""


def lists(run: GoldenRun, arrays: Arrays) -> Found:
    """panoptic, panoptic_coco, semantic, instance, class_batch2: from the image to what becomes of a class list."""
    found = _segment(run, arrays)
    yield from matching(found, arrays)
    if "in_height_width" in arrays:
        logits = found["pred_class_name_logits"][0], found["pred_masks"][0]
        yield from list_results(*logits, arrays, geometry_of(arrays, run.dims.image_px))


def referring(run: GoldenRun, arrays: Arrays) -> Found:
    found = _segment(run, arrays)
    yield from matching(found, arrays)
    logits = found["pred_SEG_logits"][0, :, 0], found["pred_masks"][0]
    yield from expression_results(*logits, arrays, geometry_of(arrays, run.dims.image_px))


def regions(run: GoldenRun, arrays: Arrays) -> Found:
    """The points that the original drew are inputs."""
    side = run.dims.image_px
    tokens, _ = run.stages.perceive(run.backend.upload(run.images))
    rows = _region_rows(tokens.to_host()[0], arrays, side)
    yield "region_tokens", rows, arrays["region_tokens"]
    keys: list[Dependencies] = [(*IMAGE, f"region {index}") for index in range(len(rows))]
    uploaded = {(SlotKind.CONDITION, key): run.backend.upload(row[None]) for key, row in zip(keys, rows, strict=True)}
    found = _segment(run, arrays, uploaded)
    yield from matching(found, arrays)
    geometry = geometry_of(arrays, side)
    yield from region_results(found["pred_region_logits0"], found["pred_masks"][0], arrays, geometry)
    yield "in_region_masks", _network_masks(arrays["in_prompt_masks_raw"], geometry), arrays["in_region_masks"]


def region_preprocess(run: GoldenRun, arrays: Arrays) -> Found:
    """Prompts of every kind at the published size."""
    swin, geometry = longest_side_square(arrays["image_uint8"], 8 * arrays["swin_sub8"].shape[-1])
    yield "swin_sub8", swin[:, ::8, ::8], arrays["swin_sub8"]
    yield "valid_hw", np.array(geometry.valid_hw), arrays["valid_hw"]
    masks = _network_masks(arrays["prompt_masks_raw"], geometry).astype(bool)
    yield "region_masks_packed", masks, unpacked(arrays, "region_masks")


def merge_cases(run: GoldenRun, arrays: Arrays) -> Found:
    """The result functions alone, on designed logits at the size of the image."""
    expression, of_regions = arrays["in_SEG_logits"][:, 0], arrays["in_region_logits"]
    for case in sorted(name.removesuffix("_in_mask_logits") for name in arrays if name.endswith("_in_mask_logits")):
        masks, classes = arrays[f"{case}_in_mask_logits"], arrays[f"{case}_in_class_logits"]
        things = {"in_is_thing": arrays["in_is_thing"]}
        yield from _merged(f"{case}_out_nofilter_", list_results, (classes, masks), arrays, {})
        yield from _merged(f"{case}_out_referring_", expression_results, (expression, masks), arrays, {})
        yield from _merged(f"{case}_out_region_", region_results, (of_regions, masks), arrays, {})
        yield from _merged(f"{case}_out_", list_results, (classes, masks), arrays, things)


def _merged(
    prefix: str,
    results: Callable[[np.ndarray, np.ndarray, Arrays, ImageGeometry], Found],
    logits: tuple[np.ndarray, np.ndarray],
    arrays: Arrays,
    given: Arrays,
) -> Found:
    """What `results` makes of scores and masks, against the arrays of this prefix."""
    height, width = logits[1].shape[1:]
    geometry = ImageGeometry((height, width), (height, width), (height, width))
    own = {f"final_{name.removeprefix(prefix)}": a for name, a in arrays.items() if name.startswith(prefix)}
    for name, value, expected in results(*logits, {**own, **given}, geometry):
        yield f"{prefix}{name.removeprefix('final_')}", value, expected


CASES: Mapping[str, Callable[[GoldenRun, Arrays], Found]] = {
    "panoptic": lists,
    "panoptic_coco": lists,
    "semantic": lists,
    "instance": lists,
    "class_batch2": lists,
    "referring": referring,
    "regions": regions,
    "region_preprocess": region_preprocess,
    "davis": davis,
    "merge_cases": merge_cases,
}


def reason_for(case: str, array: str) -> str | None:
    """Why a golden array has no counterpart; None for what should have been computed."""
    return "the norm behind this convolution is folded into it; proj_bn1 shows both" if array == "proj_conv1" else None


def is_input(array: str) -> bool:
    bare = array.split("_", 1)[1] if array[0] == "f" and array[1].isdigit() else array
    return bare.startswith("in_") or "_in_" in bare or bare.endswith(STORED)


def _segment(
    run: GoldenRun, arrays: Arrays, rows: Mapping[tuple[SlotKind, Dependencies], Buffer] | None = None
) -> dict[str, np.ndarray]:
    """Everything computed for one batch, by golden name; `rows` of its regions."""
    stages, rows = run.stages, rows or {}
    keys = [depends_on for _, depends_on in rows]
    prompts = [run.prompt(ids, conditions_of(arrays, row, keys)) for row, ids in enumerate(arrays["in_input_ids"])]
    tokens, features = stages.perceive(run.backend.upload(arrays.get("in_images", run.images)))
    embeds = stages.input_embeddings(prompts, {(SlotKind.IMAGE, IMAGE): tokens, **rows})
    attended = [prompt.attended_length for prompt in prompts]
    hidden = stages.prefill(embeds, attended, stages.new_caches(len(prompts)))
    outputs = stages.decode(features, hidden, prompts)
    decoder = run.outputs("mask_decoder")
    found = {
        **run.outputs("image_encoder"),
        **shared.decoded_maps(run.outputs("pixel_decoder")),
        **{name: a for name, a in run.outputs("llm").items() if name.startswith("phi_layer")},
        **with_packed_masks(decoder, run.heads),
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
    }
    if "in_image_uint8" in arrays:
        pixels, geometry = longest_side_square(arrays["in_image_uint8"], run.dims.image_px)
        height, width = geometry.valid_hw
        padding = np.ones(pixels.shape[1:], bool)
        padding[:height, :width] = False
        found |= {"in_images": pixels[None], "in_padding_mask": padding}
    return found


def _region_rows(tokens: np.ndarray, arrays: Arrays, side: int) -> np.ndarray:
    """From the stored points, (R, 1, D) float32."""
    weights = [token_weights(counted_points(p, side), len(tokens), (side, side)) for p in arrays["region_points"]]
    rows: np.ndarray = np.stack(weights)[:, None] @ tokens
    return rows


def _network_masks(raw: np.ndarray, geometry: ImageGeometry) -> np.ndarray:
    """Prompts as they were drawn, (point, mask, box, scribble), at the network's size, uint8."""
    point, mask, box, scribble = raw.astype(bool)
    ((y, x),) = np.argwhere(point)
    rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
    corners = (float(columns[0]), float(rows[0]), columns[-1] + 1.0, rows[-1] + 1.0)
    asked = Regions(((float(x), float(y)),), (corners,), (scribble,), (mask,))
    found = np.zeros((4, *geometry.padded_hw), np.uint8)
    height, width = geometry.valid_hw
    for place, drawn in zip((0, 2, 3, 1), region_masks(asked, geometry.original_hw), strict=True):
        found[place, :height, :width] = region_pixels(
            drawn, square_geometry(*geometry.original_hw, geometry.padded_hw[0])
        )
    return found
