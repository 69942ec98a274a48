"""InstructSeg's golden cases: run the runtime's own stages on the stored inputs and name what comes out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from hyperseg_export.families.instructseg.config import InstructsegConfig
from hyperseg_export.families.instructseg.golden_graphs import perceiver_alone
from hyperseg_export.families.mask_queries import golden_cases as shared
from hyperseg_export.families.mask_queries.golden_cases import (
    EXPRESSION_ID,
    IMAGE_ID,
    MASK_QUERIES_ID,
    PERCEIVER_ID,
    final_masks,
    with_packed_masks,
)
from hyperseg_export.parity.golden import Arrays, Found, matching
from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.families.instructseg.stages import MASK_FEATURES, OVP_MEDIA, InstructsegStages
from hyperseg_runtime.families.mask_queries.dimensions import TOKENS
from hyperseg_runtime.families.mask_queries.prompts import mask_queries
from hyperseg_runtime.heads.full_size import full_size, sigmoid
from hyperseg_runtime.heads.merging import painted, shared_out
from hyperseg_runtime.heads.referring import all_queries, best_query
from hyperseg_runtime.images.preprocessing import ImageGeometry, longest_side_square, plain_square, square_geometry
from hyperseg_runtime.llm.prompt import IMAGE, Dependencies, Prompt, Slot, SlotKind

VIDEO = "rvos_video"
"""The case whose frames and expressions others use."""
EXPRESSIONS = 2
"""Of each of its frames."""


@dataclass(frozen=True)
class GoldenRun(shared.GoldenRun[InstructsegStages]):
    config: InstructsegConfig
    stored_siglip_layers: int
    arrays_of: Callable[[str], Arrays]


@dataclass(frozen=True)
class Sample:
    """A key frame, its references and an expression; frames by their numbers."""

    key: int
    references: Sequence[int]
    input_ids: np.ndarray
    expression_ids: np.ndarray


def segmentation(run: GoldenRun, arrays: Arrays) -> Found:
    """res_image, reasonseg_image, res_batch2: from the image to scores and final masks."""
    samples = [
        Sample(row, [row], ids, arrays[name if (name := f"in_token_refer_id{row}") in arrays else "in_token_refer_id"])
        for row, ids in enumerate(arrays["in_input_ids"])
    ]
    found = _segment(run, _encode(run, arrays["in_images"], arrays["in_images_clip"]), samples)
    if "in_image_uint8" in arrays:
        pixels, dims = arrays["in_image_uint8"], run.stages.dims
        found["in_images"] = longest_side_square(pixels, dims.image_px)[0][None]
        found["in_images_clip"] = plain_square(pixels, dims.clip_image_px)[None]
    yield from matching(found, _first_rows(arrays))
    yield from final_masks(found, arrays)


def rvos_video(run: GoldenRun, arrays: Arrays) -> Found:
    """Every key frame with its references and every expression; the soft merging of a frame's masks."""
    dims, frames = run.stages.dims, arrays["frames_uint8"]
    yield "in_images", np.stack([longest_side_square(f, dims.image_px)[0] for f in frames]), arrays["in_images"]
    yield "in_images_clip", np.stack([plain_square(f, dims.clip_image_px) for f in frames]), arrays["in_images_clip"]
    encoded = _encode(run, arrays["in_images"], arrays["in_images_clip"])
    for key, references in enumerate(arrays["reference_idx"]):
        probabilities, stored = [], []
        for text in range(EXPRESSIONS):
            prefix, own = f"f{key}_o{text}_", _of_video(arrays, key, text)
            ids = arrays[f"f{key}_o0_in_input_ids"][0]
            found = _segment(run, encoded, [Sample(key, references.tolist(), ids, own["in_token_refer_id"])])
            found["best_soft_mask0"] = _soft_mask(found, shared.geometry_of(own))
            probabilities.append(found["best_soft_mask0"])
            stored.append(own)
            for pairs in (matching(found, _first_rows(own)), final_masks(found, own)):
                yield from ((prefix + name, value, expected) for name, value, expected in pairs)
        merged, name = shared_out(np.stack(probabilities)), f"f{key}_merged"
        yield name, np.where(_ties(stored), arrays[name], merged), arrays[name]


def video_final(run: GoldenRun, arrays: Arrays) -> Found:
    """Final results of three data sets on the frames of the other video case."""
    stored = run.arrays_of(VIDEO)
    encoded = _encode(run, stored["in_images"], stored["in_images_clip"])
    around, alone = stored["reference_idx"].tolist(), [[key] for key in range(len(stored["reference_idx"]))]
    yield _hard_merging(run, encoded, around, arrays["davis_hard_merged"])
    for name, prompt, references in (
        ("youtube", "youtube", around), ("revos", "revos", around), ("revos_noref", "revos", alone)
    ):  # fmt: skip
        ids, expression = arrays[f"{prompt}_in_input_ids"][0], arrays[f"{prompt}_in_token_refer_id"]
        found = _best_masks(run, encoded, references, ids, expression)
        yield f"{name}_masks", 255 * found["masks"].astype(np.uint8), arrays[f"{name}_masks"]
        yield f"{name}_scores", found["scores"], -np.sort(-arrays[f"{name}_scores"], axis=1)
        if f"{name}_best_scores" in arrays:
            yield f"{name}_best_scores", found["scores"][:, :1], arrays[f"{name}_best_scores"]
        if f"{name}_SEG_embedding_256" in arrays:
            yield f"{name}_SEG_embedding_256", found["embeddings"], arrays[f"{name}_SEG_embedding_256"]


def _hard_merging(
    run: GoldenRun, encoded: Arrays, references: Sequence[Sequence[int]], expected: np.ndarray
) -> tuple[str, np.ndarray, np.ndarray]:
    """A later expression's masks cover those before it; the logits behind the stored maps are those of `VIDEO`."""
    stored, masks, open_ = run.arrays_of(VIDEO), [], []
    for text in range(EXPRESSIONS):
        ids, expression = stored["f0_o0_in_input_ids"][0], stored[f"f0_o{text}_in_token_refer_id"]
        masks.append(_best_masks(run, encoded, references, ids, expression)["masks"])
        of_frames = (_of_video(stored, key, text) for key in range(len(references)))
        open_.append([shared.open_pixels(own, shared.geometry_of(own))[0] for own in of_frames])
    merged = np.stack([painted(np.stack(of_frame)) for of_frame in zip(*masks, strict=True)])
    return "davis_hard_merged", np.where(np.any(open_, axis=0), expected, merged), expected


def _of_video(arrays: Arrays, key: int, text: int) -> dict[str, np.ndarray]:
    """Arrays of one key frame and one expression, by their names without these."""
    prefix = f"f{key}_o{text}_"
    own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return {**own, "in_images": arrays["in_images"][key : key + 1]}


def _ties(texts: Sequence[Arrays]) -> np.ndarray:
    """Where two labels are equally probable but for rounding, (H, W) bool: the first of them wins, or the other."""
    probabilities = [own["best_soft_mask0"].astype(np.float64) for own in texts]
    nothing = np.prod([1 - probability for probability in probabilities], axis=0)
    first, second = np.sort([nothing, *probabilities], axis=0)[:-3:-1]
    of_logits = max(shared.rounding(own["pred_masks"]) for own in texts)
    tied: np.ndarray = first - second <= 2 * (first * (1 - first) * of_logits + np.finfo(np.float32).eps)
    return tied


def resamplers(run: GoldenRun, arrays: Arrays) -> Found:
    """Both perceivers alone on given media, every row; then the fusion on its first row alone."""
    batch, frames, rows, _ = arrays["ovp_latents_in"].shape
    for name, config, seen in (("ovp", run.config.perceiver, rows), ("vmtf", run.config.fusion, 1)):
        latents, media = (arrays[f"{name}_{part}"] for part in ("latents_in", "media"))
        batch, frames = latents.shape[:2]
        flat = {"media": media.reshape(-1, *media.shape[2:]), "latents": latents.reshape(-1, *latents.shape[2:])}
        graph = run.open_extra(perceiver_alone(name, config, latents.shape[2], media.shape[2], seen))
        found = {key: a.reshape(batch, frames, *a.shape[1:]) for key, a in run.run(graph, flat).items()}
        if name == "vmtf":
            found["vmtf_out"] = found["vmtf_out"][:, 0, :1]
        yield from matching(found, {key: array for key, array in arrays.items() if key.startswith(f"{name}_")})
    pooled = {**flat, "latents": np.ascontiguousarray(flat["latents"][:, :1])}
    graph = run.open_extra(perceiver_alone("vmtf", run.config.fusion, 1, media.shape[2], 1))
    yield "vmtf_out", run.run(graph, pooled)["vmtf_out"], arrays["vmtf_out"]


def siglip_layers(run: GoldenRun, arrays: Arrays) -> Found:
    return shared.siglip_layers(run, arrays, run.config.siglip, run.stored_siglip_layers)


CASES: Mapping[str, Callable[[GoldenRun, Arrays], Found]] = {
    "siglip_layers": siglip_layers,
    "resamplers": resamplers,
    "res_image": segmentation,
    "reasonseg_image": segmentation,
    "res_batch2": segmentation,
    VIDEO: rvos_video,
    "video_final": video_final,
    "vqa": shared.answer,
}
PERCEIVED = ("latents_in", "media", *(f"layer{i}_{step}" for i in range(3) for step in ("attn", "mid", "out")), "out")
FUSED_ROWS = ("SEG_tokens_in", "SEG_tokens", *(f"vmtf_{name}" for name in PERCEIVED if name not in ("media", "out")))
"""Arrays whose first row is what an expression's mean became; the others reach no result and are not made."""


def _first_rows(arrays: Arrays) -> Arrays:
    """The same of those of `FUSED_ROWS`."""
    return {
        name: array[..., :1, :] if name.split("_call")[0] in FUSED_ROWS else array for name, array in arrays.items()
    }


def _encode(run: GoldenRun, images: np.ndarray, clip_images: np.ndarray) -> dict[str, np.ndarray]:
    """What the graphs that see nothing but a frame give, by name, frame after frame."""
    stages, backend = run.stages, run.backend
    stages.perceive(backend.upload(images))
    stages.ovp_media(stages.clip_tokens(backend.upload(clip_images)))
    return {
        **run.outputs("image_encoder"),
        **shared.decoded_maps(run.outputs("pixel_decoder")),
        **run.outputs("vmtf_media"),
        **run.outputs("clip_encoder"),
        **run.outputs("ovp_media"),
    }


def _segment(run: GoldenRun, encoded: Arrays, samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """Everything computed for one batch, by golden name."""
    stages, upload = run.stages, run.backend.upload
    keys = [sample.key for sample in samples]
    of_keys = {name: np.ascontiguousarray(array[keys]) for name, array in encoded.items()}
    blocks: dict[tuple[SlotKind, Dependencies], Buffer] = {(SlotKind.IMAGE, IMAGE): upload(of_keys["image_tokens"])}
    found, prompts = dict(of_keys), []
    for row, sample in enumerate(samples):
        views = _views(run, encoded, sample)
        found |= {name if len(samples) == 1 else f"{name}_call{row}": array for name, array in views.items()}
        rows = views["ovp_out"].reshape(1, -1, stages.dims.width)
        blocks[_view_of(row)] = upload(rows)
        prompts.append(_prompt(run, row, sample, rows.shape[1]))
    embeds = stages.input_embeddings(prompts, blocks)
    attended = [prompt.attended_length for prompt in prompts]
    hidden = stages.prefill(embeds, attended, stages.new_caches(len(prompts)))
    outputs = stages.decode({name: upload(of_keys[name]) for name in MASK_FEATURES}, hidden, prompts)
    decoder = run.outputs("mask_decoder")
    found |= {
        **{name: a for name, a in run.outputs("llm").items() if name.startswith("phi_layer")},
        **with_packed_masks(decoder, run.config.mask_decoder.heads),
        "inputs_embeds": embeds.to_host(),
        "llm_attention_mask": np.arange(embeds.shape[1])[None] < np.array(attended)[:, None],
        "last_hidden_state": hidden.to_host(),
        "pred_masks": outputs.mask_logits.to_host(),
        "pred_SEG_logits": outputs.score_logits.to_host(),
    }
    return {**found, **_fused(found, len(samples))}


def _views(run: GoldenRun, encoded: Arrays, sample: Sample) -> dict[str, np.ndarray]:
    """The perceiver's values for each reference, (1, T, rows, width)."""
    ids = sample.expression_ids.tolist()
    text = run.tables.rows(TOKENS, ids)
    calls = []
    for reference in sample.references:
        rows = run.stages.view(run.backend.upload(encoded[OVP_MEDIA][reference : reference + 1]), ids)
        seen = np.concatenate([encoded["image_tokens"][reference], text])[None]
        calls.append({**run.outputs("ovp"), "ovp_media": seen, "ovp_out": rows.to_host()})
    return {name: np.stack([call[name] for call in calls], axis=1) for name in calls[0]}


def _fused(found: Arrays, samples: int) -> dict[str, np.ndarray]:
    """The fusion's values in the shapes of the original, which goes sample by sample."""
    rows = {name: found[name] for name in found if name.startswith("vmtf_layer") or name == "vmtf_latents_in"}
    rows["SEG_tokens"], rows["vmtf_media"] = rows["vmtf_latents_in"], found["local_project"].reshape(
        samples, found["local_project"].shape[1], -1
    ).transpose(0, 2, 1)  # fmt: skip
    in_frames = {name: array[:, None] for name, array in rows.items()}
    in_frames["SEG_tokens"] = rows["SEG_tokens"]
    whole = {**in_frames, "SEG_tokens_in": found["SEG_global_in"]}
    names = (*whole, "SEG_global", "SEG_global_in", "vmtf_out")
    every = {**found, **whole}
    calls = {f"{name}_call{row}": every[name][row : row + 1] for name in names for row in range(samples)}
    return {**whole, **(calls if samples > 1 else {})}


def _prompt(run: GoldenRun, row: int, sample: Sample, perceived: int) -> Prompt:
    dims = run.stages.dims
    kind, view = _view_of(row)
    slots: dict[int, Iterator[Slot]] = {
        IMAGE_ID: repeat(Slot.block(SlotKind.IMAGE, dims.image_tokens, IMAGE)),
        PERCEIVER_ID: repeat(Slot.block(kind, perceived, view)),
        MASK_QUERIES_ID: repeat(mask_queries(dims)),
        EXPRESSION_ID: shared.expressions(sample.expression_ids),
    }
    return shared.stored_prompt(sample.input_ids, slots, dims)


def _view_of(row: int) -> tuple[SlotKind, Dependencies]:
    return SlotKind.PERCEIVER, (*IMAGE, f"sample {row}")


def _soft_mask(found: Arrays, geometry: ImageGeometry) -> np.ndarray:
    """Probabilities of the best query at the size of the image."""
    logits = found["pred_masks"][0]
    best = best_query(logits, found["pred_SEG_logits"][0, :, 0], geometry)
    return sigmoid(full_size(logits[best.query], geometry)).astype(np.float32)


def _best_masks(
    run: GoldenRun, encoded: Arrays, references: Sequence[Sequence[int]], ids: np.ndarray, expression: np.ndarray
) -> dict[str, np.ndarray]:
    """Of every frame as key frame: the best mask, all scores from the best on, the expression's embedding."""
    size, rows = run.arrays_of(VIDEO)["frames_uint8"].shape[1:3], []
    for key, around in enumerate(references):
        found = _segment(run, encoded, [Sample(key, around, ids, expression)])
        geometry = square_geometry(size[0], size[1], run.stages.dims.image_px)
        scored = all_queries(found["pred_masks"][0], found["pred_SEG_logits"][0, :, 0], geometry)
        scored.sort(key=lambda one: -one.score)
        scores = np.array([one.score for one in scored], np.float32)
        rows.append({"masks": scored[0].mask, "scores": scores, "embeddings": found["SEG_embedding_256"]})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
