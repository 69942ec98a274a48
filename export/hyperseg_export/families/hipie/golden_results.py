"""What the runtime makes of the networks' outputs, against the results of the original code (hipie-spec 13)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hyperseg_export.parity.golden import Arrays, Found
from hyperseg_runtime.families.hipie.class_logits import (
    NOT_ALLOWED,
    class_logits,
    map_probabilities,
    of_proposals,
    of_vectors,
)
from hyperseg_runtime.families.hipie.instances import Chosen, choose, instance_mask, probabilities, survivors
from hyperseg_runtime.families.hipie.maps import panoptic, semantic_scores
from hyperseg_runtime.families.hipie.options import HipieOptions
from hyperseg_runtime.images.preprocessing import ImageGeometry

SETTINGS: Mapping[str, HipieOptions] = {
    "detection_demo_settings": HipieOptions(use_bg_for_pano=True, object_mask_threshold=0.01),
    "detection_bg_cls_agnostic": HipieOptions(bg_cls_agnostic=True),
    "detection_max_pool": HipieOptions(max_pool=True),
    "detection_no_transform": HipieOptions(transform_eval=False, object_mask_threshold=0.05),
    "detection_mode_free": HipieOptions(mode_free_inference=True),
    "detection_low_overlap": HipieOptions(overlap_threshold=0.3),
    "detection_low_overlap_bg_only": HipieOptions(overlap_threshold=0.3, use_bg_for_pano=True),
}
"""Cases that differ from "detection" in these switches alone."""
GROUNDING = HipieOptions(most=1)


@dataclass(frozen=True)
class SeenImage:
    """One image of a call: `of_image`, and tokens (K, T) bool of each class."""

    outputs: Arrays
    geometry: ImageGeometry
    tokens: np.ndarray
    things: Sequence[bool]
    options: HipieOptions

    @cached_property
    def proposals(self) -> np.ndarray:
        return of_proposals(self._pooled("pred_logits"), self.things, self.options)

    @cached_property
    def vectors(self) -> np.ndarray:
        return of_vectors(self._pooled("pred_logits_maskdino"), self.things, self.options)

    @cached_property
    def scores(self) -> np.ndarray:
        return probabilities(self.proposals, self.outputs["pred_boxious"][:, 0])

    @cached_property
    def kept(self) -> np.ndarray:
        return survivors(self.scores, self.outputs["pred_boxes"], self.options)

    @cached_property
    def chosen(self) -> Chosen:
        """Pairs of a score of 0 fill the original's list up in no order that means anything; they are left out."""
        found = choose(self.scores, self.outputs["pred_boxes"], self.kept, self.geometry, self.options.most)
        return found.rows(found.scores > 0)

    @cached_property
    def merged(self) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and mask logits of what maps are merged from."""
        if self.options.use_bg_for_pano:
            return map_probabilities(self.vectors, self.options), self.outputs["md_masks"]
        logits = np.concatenate([self.proposals[self.kept], self.vectors])
        masks = np.concatenate([self.outputs["pred_masks"][self.kept, 0], self.outputs["md_masks"]])
        return map_probabilities(logits, self.options), masks

    def _pooled(self, name: str) -> np.ndarray:
        return class_logits(self.outputs[name], self.tokens, self.options.max_pool)


def of_image(found: Arrays, image: int, background: int) -> dict[str, np.ndarray]:
    """One image's outputs, without the queries that no result shows."""
    proposals = ("pred_logits", "pred_boxes", "pred_boxious", "pred_masks")
    outputs = {name: found[name][image, background:] for name in proposals}
    return outputs | {name: found[name][image] for name in ("pred_logits_maskdino", "md_masks")}


def results(seen: SeenImage, arrays: Arrays, image: int) -> Found:
    """Every result of an image that is stored; `arrays` have the image's number behind their names."""
    expected = {name: arrays[stored] for name in RESULTS if (stored := name.format(image)) in arrays}
    logits_of = {"class_logits_fg{}": seen.proposals}
    if seen.options is not GROUNDING:  # whose arrays of the second name hold another image's first ones
        logits_of["class_logits_bg{}"] = seen.vectors
    for name, logits in logits_of.items():
        if name in expected:
            allowed = expected[name] > NOT_ALLOWED
            yield f"allowed_{name.format(image)}", logits > NOT_ALLOWED, allowed
            yield name.format(image), logits[allowed], expected[name][allowed]
    real = expected["final_scores{}"] > 0
    made: dict[str, Callable[[], np.ndarray]] = {
        "nms_keep{}": lambda: seen.kept,
        "final_scores{}": lambda: seen.chosen.scores,
        "final_classes{}": lambda: seen.chosen.classes,
        "final_boxes{}": lambda: seen.chosen.boxes_xyxy,
        "pano_class_prob{}": lambda: seen.merged[0],
        "final_sem_seg{}": lambda: semantic_scores(*seen.merged, seen.geometry),
        "final_masks{}_packed": lambda: np.stack([_mask(seen, query) for query in seen.chosen.queries.tolist()]),
    }
    for name, make in made.items():
        if name in expected:
            wanted = _masks(arrays, image) if "packed" in name else expected[name]
            wanted = wanted[real] if name.startswith("final") and "seg" not in name else wanted
            pair = make(), wanted
            if "boxes" in name:
                pair = _on_image(pair[0], seen.geometry), _on_image(pair[1], seen.geometry)
            yield name.format(image), *pair
    if "final_panoptic{}" in expected:
        ids, segments = panoptic(*seen.merged, seen.geometry, seen.things, seen.options)
        yield f"final_panoptic{image}", ids, expected["final_panoptic{}"]
        rows = [[segment.id, int(segment.is_thing), segment.class_index] for segment in segments]
        yield f"final_segments{image}", np.array(rows, np.int64).reshape(-1, 3), expected["final_segments{}"]


RESULTS = (
    "class_logits_fg{}", "class_logits_bg{}", "nms_keep{}", "final_scores{}", "final_classes{}", "final_boxes{}",
    "final_masks{}_packed", "pano_class_prob{}", "final_sem_seg{}", "final_panoptic{}", "final_segments{}",
)  # fmt: skip


def _on_image(boxes: np.ndarray, geometry: ImageGeometry) -> np.ndarray:
    """Boxes and, as one more, the whole image: differences are judged in units of its longer side."""
    height, width = geometry.original_hw
    return np.concatenate([boxes, np.array([[0, 0, width, height]], np.float32)])


def _mask(seen: SeenImage, query: int) -> np.ndarray:
    return instance_mask(seen.outputs["pred_masks"][query, 0], seen.geometry, seen.options.mask_thres)


def _masks(arrays: Arrays, image: int) -> np.ndarray:
    """Stored masks (M, H, W) bool."""
    shape = tuple(arrays[f"final_masks{image}_shape"].tolist())
    bits = np.unpackbits(arrays[f"final_masks{image}_packed"])[: int(np.prod(shape))]
    return bits.reshape(shape).astype(bool)
