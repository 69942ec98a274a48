"""Golden cases that begin with an image as it is read: preprocessing, objects with their parts (hipie-spec 3, 14)."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hyperseg_export.checkpoint.tokenizer_files import to_json
from hyperseg_export.families.hipie.bert_tokenizer import bert_tokenizer
from hyperseg_export.parity.golden import Arrays, Found
from hyperseg_runtime.families.hipie.canvas import canvas
from hyperseg_runtime.families.hipie.class_list import AskedList, SeenList, names_of
from hyperseg_runtime.families.hipie.class_logits import class_logits
from hyperseg_runtime.families.hipie.expression import refer
from hyperseg_runtime.families.hipie.hierarchy import part_list
from hyperseg_runtime.families.hipie.instances import Chosen
from hyperseg_runtime.families.hipie.options import HipieOptions
from hyperseg_runtime.families.hipie.part_names import PART_NAMES
from hyperseg_runtime.families.hipie.parts import PartMap, find_parts, is_asked, together
from hyperseg_runtime.families.hipie.pieces import PADDING
from hyperseg_runtime.families.hipie.stages import HipieStages
from hyperseg_runtime.families.hipie.state import HipieImage
from hyperseg_runtime.families.hipie.words import AskedText, list_text
from hyperseg_runtime.images.preprocessing import PIXEL_MEAN, PIXEL_STD
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE, Tokenizer

if TYPE_CHECKING:
    from hyperseg_export.families.hipie.golden_cases import GoldenRun

EVERY_PX = 16
"""Of large images every so many pixels are stored,"""
EVERY_WORD = 8
EVERY_LOGIT = 16
"""of the states of a text and of logits of its words so many."""
THINGS = ("person", "dog", "car", "bird", "cat", "bus")
"""Names of the things that are looked for; two kinds of stuff follow."""
OWNERS = ("person", "dog", "bus", "dog")
"""Names of the objects that the rule alone is shown on."""
QUERY = "head"
NO_NAMES = np.zeros((0, 0), np.bool_)
"""Tokens of no class: an expression has none."""


def preprocess(run: "GoldenRun", arrays: Arrays) -> Found:
    """Sizes and pixels at the published sizes."""
    for name in sorted(stored.removesuffix("_bgr_uint8") for stored in arrays if stored.endswith("_bgr_uint8")):
        pixels, geometry = canvas(_rgb(arrays[f"{name}_bgr_uint8"]), size_multiple=1)
        corner = arrays[f"{name}_normalised_corner"]
        levels = np.rint(pixels * PIXEL_STD[:, None, None] + PIXEL_MEAN[:, None, None])
        yield f"{name}_size", np.array(geometry.valid_hw), arrays[f"{name}_size"]
        yield f"{name}_normalised_corner", pixels[:, : corner.shape[1], : corner.shape[2]], corner
        yield f"{name}_resized_sub16", levels[:, ::EVERY_PX, ::EVERY_PX], arrays[f"{name}_resized_sub16"]
        yield f"{name}_sum", levels.sum(dtype=np.float64)[None], arrays[f"{name}_sum"]


def parts(run: "GoldenRun", arrays: Arrays) -> Found:
    """A list finds objects, a second one their parts; and the part of what an expression refers to."""
    short_px, long_px = run.sides_px
    sizes = {"short_px": short_px, "long_px": long_px, "options": HipieOptions(max_pool=True)}
    stages = HipieStages(run.config.dimensions().model_copy(update=sizes), run.graphs, run.backend)
    image = HipieImage(stages, _rgb(arrays["in_image_bgr_uint8"]))
    second = _second_list(stages, image, arrays)
    fine = PartMap.likeliest(second.pop("scores"), PART_NAMES)
    coarse = fine.coarser()
    second |= {"parts_seg": fine.numbers, "parts_remapped": coarse.numbers}
    for name, found in second.items():
        # Columns behind the last word are read by nothing.
        yield name, found, arrays[name][:, :, : found.shape[2]] if name.endswith("pred_logits_bg") else arrays[name]

    seen, names = _first_list(stages, image, arrays)
    objects, masks = seen.instances()
    yield from _objects(objects, masks, arrays)
    yield from _scene(seen, arrays)
    labels = names_of(objects, names)  # however uncertain they are: that run had a lower limit
    for name, part_map in (("output_refined", fine), ("output_coarse", coarse)):
        drawn = [part.mask for part in find_parts(part_map, masks, labels)]
        yield f"{name}_packed", np.array(drawn), _unpacked(arrays, name)

    _, referred = refer(stages, image, stages.read(AskedText(_real(arrays["ref_text_ids"]), NO_NAMES)))
    yield "ref_mask_packed", referred, _unpacked(arrays, "ref_mask")
    for name, part_map in (("ref_part_fine_packed", fine), ("ref_part_coarse_packed", coarse)):
        meant = [part for part in find_parts(part_map, referred) if is_asked(QUERY, part.name)]
        yield name, together(meant, image.hw)[None], _bits(arrays[name], (1, *image.hw))
    yield from _rule(arrays)


def _second_list(stages: HipieStages, image: HipieImage, arrays: Arrays) -> dict[str, np.ndarray]:
    """Arrays of the list of parts by golden name, and its semantic scores."""
    listed = part_list(PART_NAMES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / TOKENIZER_FILE
        path.write_bytes(to_json(bert_tokenizer()))
        tokens = list_text(listed.names, Tokenizer(path)).tokens
    asked = AskedText(_real(arrays["parts_text_ids"]), tokens)
    text = stages.read(asked)
    states = text.states.to_host()[0, : len(asked.ids)]
    rows = np.zeros((arrays["parts_text_ids"].shape[1], states.shape[1]), np.float32)
    rows[: len(states)] = states
    words = image.look(text).tensors["fused_text"]
    logits = stages.vector_word_logits(image.vectors(), words)
    each = tuple(range(len(listed.names)))
    seen = SeenList(stages, image, AskedList(asked, each, (False,) * len(each)), text)
    return {
        "parts_text_hidden_sub8": rows[None, ::EVERY_WORD],
        "parts_pred_logits_bg": logits[None, :, : len(asked.ids) : EVERY_LOGIT],
        "parts_class_logits_bg": class_logits(logits[:, : len(asked.ids)], tokens, max_pool=True),
        "scores": seen.semantic(),
    }


def _first_list(stages: HipieStages, image: HipieImage, arrays: Arrays) -> tuple[SeenList, tuple[str, ...]]:
    """What is seen of the list of objects, and its names."""
    ids = _real(arrays["pan_text_ids"])
    tokens = arrays["pan_positive_map"][:, : len(ids)] > 0
    names = (*THINGS, *("",) * (len(tokens) - len(THINGS)))
    asked = AskedList(AskedText(ids, tokens), tuple(range(len(names))), tuple(map(bool, names)))
    return SeenList(stages, image, asked, stages.read(asked.text)), names


def _objects(found: Chosen, masks: np.ndarray, arrays: Arrays) -> Found:
    """Pairs of a score of 0 fill the original's list up in no order that means anything; they are left out."""
    real = arrays["pan_scores"] > 0
    height, width = arrays["pan_map"].shape
    whole = np.array([[0, 0, width, height]], np.float32)  # differences are judged in units of its longer side
    yield "pan_scores", found.scores, arrays["pan_scores"][real]
    yield "pan_classes", found.classes, arrays["pan_classes"][real]
    yield "pan_boxes", np.concatenate([found.boxes_xyxy, whole]), np.concatenate([arrays["pan_boxes"][real], whole])
    yield "pan_masks_packed", masks, _unpacked(arrays, "pan_masks")[real]


def _scene(seen: SeenList, arrays: Arrays) -> Found:
    ids, segments = seen.panoptic()
    rows = [[segment.id, int(segment.is_thing), segment.class_index] for segment in segments]
    yield "pan_map", ids, arrays["pan_map"]
    yield "pan_segments", np.array(rows, np.int64).reshape(-1, 3), arrays["pan_segments"]


def _rule(arrays: Arrays) -> Found:
    """Which parts belong to which objects, on a map that was made up."""
    fine, masks = PartMap(arrays["rule_seg"].astype(np.int64), PART_NAMES), arrays["rule_masks"].astype(np.bool_)
    yield "rule_remapped", fine.coarser().numbers, arrays["rule_remapped"]
    cases = (("rule_named", fine, OWNERS), ("rule_unnamed", fine, None), ("rule_coarse", fine.coarser(), OWNERS))
    for name, part_map, owners in cases:
        packed = arrays[f"{name}_packed"]
        expected = _bits(packed, (8 * len(packed) // masks[0].size, *masks.shape[1:]))
        yield f"{name}_packed", np.array([part.mask for part in find_parts(part_map, masks, owners)]), expected


def _real(ids: np.ndarray) -> tuple[int, ...]:
    """Of one text (1, T), without padding."""
    return tuple(ids[ids != PADDING].tolist())


def _rgb(bgr: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(bgr[:, :, ::-1])


def _unpacked(arrays: Arrays, name: str) -> np.ndarray:
    """Stored masks (M, H, W) bool."""
    return _bits(arrays[f"{name}_packed"], tuple(arrays[f"{name}_shape"].tolist()))


def _bits(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.unpackbits(packed)[: int(np.prod(shape))].reshape(shape).astype(np.bool_)
