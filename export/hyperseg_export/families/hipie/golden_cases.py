"""What each HIPIE golden case computes, by golden name, on one engine. Cases yield (array, found, expected)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from hyperseg_export.families.hipie.config import HipieConfig
from hyperseg_export.families.hipie.golden_functions import functions
from hyperseg_export.families.hipie.golden_graphs import vit_alone
from hyperseg_export.families.hipie.golden_images import parts, preprocess
from hyperseg_export.families.hipie.golden_results import GROUNDING, SETTINGS, SeenImage, of_image, results
from hyperseg_export.modules.levels import Levels, LevelSine
from hyperseg_export.modules.plain_vit import PlainVitConfig
from hyperseg_export.modules.positions import PIXEL_CENTRE
from hyperseg_export.modules.two_stage import proposals
from hyperseg_export.parity.extra_graphs import ExtraGraph
from hyperseg_export.parity.golden import Arrays, Found
from hyperseg_runtime.backends.base import Backend, Graph
from hyperseg_runtime.families.hipie.options import HipieOptions
from hyperseg_runtime.families.hipie.padding import valid_sizes
from hyperseg_runtime.families.hipie.pieces import in_pieces
from hyperseg_runtime.families.hipie.spec import MAPS
from hyperseg_runtime.images.preprocessing import PIXEL_MEAN, PIXEL_STD, ImageGeometry

Sizes = list[tuple[int, int]]


@dataclass(frozen=True)
class GoldenRun:
    """One engine set up on one folder."""

    config: HipieConfig
    vit: PlainVitConfig | None
    """Of the backbone that is stored by itself, if there is one."""
    graphs: Mapping[str, Graph]
    backend: Backend
    open_extra: Callable[[ExtraGraph], Graph]
    weight: Callable[[str], Tensor]
    """Values of our parameters by name."""
    arrays: Callable[[str], Arrays]
    """Of a case."""
    sides_px: tuple[int, int]
    """What an image's short side becomes in most cases, and its long side at most."""

    def run(self, name: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs and probes of a graph."""
        return self.call(self.graphs[name], inputs)

    def call(self, graph: Graph, inputs: Arrays) -> dict[str, np.ndarray]:
        outputs = graph.run({name: self.backend.upload(inputs[name]) for name in graph.spec.input_names()})
        return {name: buffer.to_host() for name, buffer in outputs.items()}

    @cached_property
    def detected(self) -> dict[str, np.ndarray]:
        """What the networks make of the case "detection"."""
        return _segment(self, self.arrays("detection"), pooled=False)


def detection(run: GoldenRun, arrays: Arrays) -> Found:
    """From ids and images to the logits, masks and boxes of all queries, and to instances and maps."""
    found = _segment(run, arrays, pooled=False)
    yield from _matching(found, arrays)
    yield from _results(run, found, arrays, arrays, HipieOptions())


def setting(case: str) -> Callable[[GoldenRun, Arrays], Found]:
    """Instances and maps of "detection" with other switches."""
    return lambda run, arrays: _results(run, run.detected, run.arrays("detection"), arrays, SETTINGS[case])


def grounding(run: GoldenRun, arrays: Arrays) -> Found:
    """The same with one column of logits: the mean of the text's words before they are fused."""
    found = _segment(run, arrays, pooled=True)
    yield from _matching(found, arrays)
    yield from _results(run, found, arrays, arrays, GROUNDING)


def text_long(run: GoldenRun, arrays: Arrays) -> Found:
    """Texts of more tokens than the encoder takes at once, and texts of as many and fewer."""
    words = run.config.text.positions
    for tag in sorted(name.removesuffix("_chunk_ids") for name in arrays if name.endswith("_chunk_ids")):
        ids, mask = arrays[f"{tag}_ids"], arrays[f"{tag}_mask"].astype(bool)
        if ids.shape[1] <= words:
            found = run.run("text", {"token_ids": ids, "word_mask": mask})["piece_states"]
            yield f"{tag}_hidden", found, arrays[f"{tag}_hidden"]
            continue
        texts = [in_pieces(row[real].tolist(), words) for row, real in zip(ids, mask, strict=True)]
        yield f"{tag}_chunk_ids", np.concatenate([text.token_ids for text in texts]), arrays[f"{tag}_chunk_ids"]
        masks = np.concatenate([text.word_mask for text in texts]).astype(np.int64)
        yield f"{tag}_chunk_mask", masks, arrays[f"{tag}_chunk_mask"]
        states = np.zeros(arrays[f"{tag}_hidden"].shape, np.float32)
        for row, text in zip(states, texts, strict=True):
            given = {"token_ids": text.token_ids, "word_mask": text.word_mask}
            joined = text.joined(run.run("text", given)["piece_states"])
            row[: len(joined)] = joined
        yield f"{tag}_hidden", states, arrays[f"{tag}_hidden"]


def vit(run: GoldenRun, arrays: Arrays) -> Found:
    """The plain backbone alone, at its own size and at another."""
    assert run.vit is not None
    graph = run.open_extra(vit_alone(run.vit))
    for tag in ("native", "other"):
        found = run.call(graph, {"images": arrays[f"{tag}_in"]})
        patches = found.pop("patches").transpose(0, 2, 3, 1)
        yield from _matching({f"{tag}_patches": patches} | {f"{tag}_{name}": x for name, x in found.items()}, arrays)


CASES: Mapping[str, Callable[[GoldenRun, Arrays], Found]] = {
    "functions": functions,
    "text_long": text_long,
    "detection": detection,
    "detection_portrait": detection,
    "detection_batch2": detection,
    **{case: setting(case) for case in SETTINGS},
    "grounding": grounding,
    "grounding_short": grounding,
    "grounding_batch2": grounding,
    "parts": parts,
    "preprocess": preprocess,
    "vit": vit,
}
LEFT_OUT: Mapping[str, str] = {
    "text_parallel_det": "attention of words inside their own name alone (PARALLEL_DET), off in every released "
    "configuration: no graph is made with it",
}
"""Cases that nothing here computes, and why."""


def _segment(run: GoldenRun, arrays: Arrays, pooled: bool) -> dict[str, np.ndarray]:
    images, sizes = _canvas(arrays)
    canvas = (images.shape[2], images.shape[3])
    valid = np.stack([valid_sizes(size, canvas) for size in sizes])
    mask = arrays["text_mask"].astype(bool)
    found = run.run("text", {"token_ids": arrays["text_ids"], "word_mask": mask})
    text = found["text_hidden"] = found["piece_states"]
    found[f"bert_layer{run.config.text.layers - 1}"] = text
    found |= run.run("image", {"images": images})
    maps = {name: found[name] for name in MAPS}
    found |= _mask_dino(run, maps)
    found |= run.run("detr", {**maps, "valid": valid, "text": text, "word_mask": mask})
    found |= _queries(run, found, mask, sizes, _pooled(text, mask) if pooled else found["fused_text"])
    return found | _selection(run, found, arrays) | _levels(run, found, valid)


def _results(run: GoldenRun, found: Arrays, given: Arrays, arrays: Arrays, options: HipieOptions) -> Found:
    """Of every image of a call; `given` are its inputs, `arrays` what is expected. All ask the list of "detection"."""
    listed = run.arrays("detection")
    tokens, things = listed["positive_map"] > 0, listed["is_thing"] > 0
    if options is GROUNDING:
        tokens, things = np.ones((1, 1), bool), np.ones(1, bool)
    _, sizes = _canvas(given)
    canvas = 4 * found["md_masks"].shape[2], 4 * found["md_masks"].shape[3]
    for image, (size, original) in enumerate(zip(sizes, given["in_height_width"].reshape(-1, 2).tolist(), strict=True)):
        geometry = ImageGeometry((original[0], original[1]), size, canvas)
        outputs = of_image(found, image, run.config.detr.background)
        yield from results(SeenImage(outputs, geometry, tokens, things.tolist(), options), arrays, image)


def _canvas(arrays: Arrays) -> tuple[np.ndarray, Sizes]:
    """Normalised images on one canvas (B, 3, H, W), and their own sizes."""
    stored = [arrays[name] for name in ("image", "image0", "image1") if name in arrays]
    sizes = [(image.shape[1], image.shape[2]) for image in stored]
    canvas = np.zeros((len(stored), 3, max(h for h, _ in sizes), max(w for _, w in sizes)), np.float32)
    for room, image, (height, width) in zip(canvas, stored, sizes, strict=True):
        room[:, :height, :width] = (image - PIXEL_MEAN[:, None, None]) / PIXEL_STD[:, None, None]
    return canvas, sizes


def _pooled(text: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean state of the real words, (B, 1, D)."""
    shares = mask / mask.sum(1, keepdims=True)
    pooled: np.ndarray = (shares[:, None] @ text).astype(np.float32)
    return pooled


def _mask_dino(run: GoldenRun, maps: Arrays) -> dict[str, np.ndarray]:
    found = run.run("mask_dino", maps)
    gain, shift = run.weight("mask_dino.norm.weight"), run.weight("mask_dino.norm.bias")
    layers = run.config.mask_dino.decoder_layers
    states = [
        layer_norm(torch.from_numpy(found[f"md_dec_layer{index}"]), gain.shape, gain, shift).numpy()
        for index in range(layers - 1)
    ]
    references = [found["md_ref_in"], *(found[f"md_refs{index}"] for index in range(1, layers))]
    rows, columns = found["md_input_proj0"].shape[2:]
    encoded = found[f"md_enc_layer{run.config.mask_dino.encoder_layers - 1}"]
    levels = _unpadded(rows, columns).maps(torch.from_numpy(encoded))
    return {
        **found,
        **{f"md_multi_scale{level}": x.numpy() for level, x in enumerate(levels)},
        "md_states": np.stack([*states, found["md_last_state"]]),
        "md_refs": np.stack(references),
        "md_class_vec": found["vectors"],
        "md_masks": found["vector_masks"],
        "md_boxes": found["vector_boxes"],
    }


def _queries(
    run: GoldenRun, found: dict[str, np.ndarray], mask: np.ndarray, sizes: Sizes, text: np.ndarray
) -> dict[str, np.ndarray]:
    """Logits, boxes and masks of the queries, as the original names them."""
    centres_px = found["centres"] * np.array([[[width, height]] for height, width in sizes], np.float32)
    aligned = {**found, "text": text}
    logits = {**run.run("alignment", aligned), **run.run("vector_alignment", aligned)}
    masks = run.run("masks", {**found, "centres_px": centres_px})["mask_logits"]
    flat = masks.reshape(1, -1, *masks.shape[2:])
    return {
        "pred_logits": logits["word_logits"],
        "pred_logits_maskdino": logits["vector_word_logits"],
        "pred_boxes": found["boxes"],
        "pred_boxious": found["iou_logits"],
        "controller": found["mask_parameters"],
        "mask_feats": found["mask_map"],
        "reference_points": found["centres"],
        "cond_ref_pixels": centres_px.reshape(1, -1, 2),
        "cond_masks": flat,
        "pred_masks": masks[:, :, None],
    }


def _selection(run: GoldenRun, found: dict[str, np.ndarray], arrays: Arrays) -> dict[str, np.ndarray]:
    """What the queries are made of: learned ones first, then the tokens selected."""
    batch = len(found["proposed"])

    def learned(*names: str) -> np.ndarray:
        rows = np.concatenate([run.weight(f"detr.{name}").numpy() for name in names])
        return np.broadcast_to(rows, (batch, *rows.shape))

    last = run.config.detr.decoder_layers - 1
    references = [*(found[f"dec_refs{index}"] for index in range(last)), found["boxes"]]
    return {
        f"dec_layer{last}": found["states"],
        "dec_in": learned("background_contents", "contents"),
        "dec_ref_in": np.concatenate([learned("background_boxes"), found["proposed"]], axis=1),
        "dec_refs": np.stack(references),
    }


def _levels(run: GoldenRun, found: dict[str, np.ndarray], valid: np.ndarray) -> dict[str, np.ndarray]:
    """Positions, masks and proposals, which depend on sizes alone, and what they are added to."""
    maps = [torch.from_numpy(found[f"input_proj{level}"]) for level in range(run.config.detr.layer.levels)]
    levels = Levels.of(maps, torch.from_numpy(valid))
    sine = LevelSine(run.config.detr.layer.width, PIXEL_CENTRE)(levels)
    embed = run.weight("detr.encoder.level_embed.embed")
    positions = sine + levels.of_tokens(embed)
    padding = ~levels.inside
    proposal, _ = proposals(levels)
    made: dict[str, Any] = {
        "enc_in": torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1),
        "enc_pos": positions,
        "enc_pad": padding.squeeze(-1),
        "valid_ratios": levels.ratios,
        "spatial_shapes": levels.sizes,
        "two_stage_proposals": proposal,
    }
    for level, (place, mask) in enumerate(zip(levels.maps(sine), levels.maps(padding), strict=True)):
        made[f"level_pos{level}"], made[f"level_mask{level}"] = place, mask[:, 0]
    return {name: tensor.numpy() for name, tensor in made.items()}


def _unpadded(rows: int, columns: int) -> Levels:
    sizes = [(-(-rows // factor), -(-columns // factor)) for factor in (1, 2, 4, 8)]
    return Levels.unpadded([torch.empty(1, 1, *size, device="meta") for size in sizes])


def _matching(found: Arrays, arrays: Arrays) -> Found:
    """Pairs for every name that is in both, in a form in which they can be compared."""
    for name in arrays:
        if name == "md_ref_in_unsigmoid" and "md_ref_in" in found:
            yield name, found["md_ref_in"], _sigmoid(arrays[name])
        elif name == "md_refs" and name in found:  # nothing reads the boxes after the last layer
            yield name, found[name], arrays[name][:-1]
        elif name == "two_stage_box_delta" and "chosen" in found:
            rows = np.take_along_axis(arrays[name], found["chosen"][..., None], axis=1)
            yield name, found["chosen_box_delta"], rows
        elif name == "two_stage_proposals" and name in found:  # infinite where ours is no number that counts
            yield name, found[name], np.where(np.isfinite(arrays[name]), arrays[name], 0)
        elif name in found:
            yield name, found[name], arrays[name]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)
