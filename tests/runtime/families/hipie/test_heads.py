"""From logits of queries to instances and maps, against results of the original code, in all its settings."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyperseg_runtime.families.hipie.class_logits import (
    class_logits,
    map_probabilities,
    of_proposals,
    of_vectors,
    sigmoid_f32,
)
from hyperseg_runtime.families.hipie.instances import Chosen, choose, instance_mask, probabilities, survivors
from hyperseg_runtime.families.hipie.maps import panoptic, semantic_scores
from hyperseg_runtime.families.hipie.options import HipieOptions
from hyperseg_runtime.images.preprocessing import ImageGeometry

GOLDEN = Path(__file__).parents[3] / "golden" / "hipie"
BACKGROUND = 3
"""Queries of the small model that no result shows."""
EXACT_TO = 2e-6
"""Scores and probabilities in 0..1: a few float32 roundings."""

SETTINGS: dict[str, dict[str, Any]] = {
    "detection": {},
    "detection_portrait": {},
    "detection_demo_settings": {"use_bg_for_pano": True, "object_mask_threshold": 0.01},
    "detection_bg_cls_agnostic": {"bg_cls_agnostic": True},
    "detection_max_pool": {"max_pool": True},
    "detection_no_transform": {"transform_eval": False, "object_mask_threshold": 0.05},
    "detection_mode_free": {"mode_free_inference": True},
    "detection_low_overlap": {"overlap_threshold": 0.3},
    "detection_low_overlap_bg_only": {"overlap_threshold": 0.3, "use_bg_for_pano": True},
}


@cache
def arrays(case: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{case}.npz") as stored:
        return dict(stored)


class Heads:
    """Everything that follows from the arrays of a case under its settings; vectors' masks are those of `detection`."""

    def __init__(self, case: str) -> None:
        self.options = HipieOptions(**SETTINGS[case])
        self.given = arrays(case if "pred_logits" in arrays(case) else "detection")
        self.things = arrays("detection")["is_thing"].astype(bool).tolist()
        tokens = self.given["positive_map"].astype(bool)
        words, vector_words = self.given["pred_logits"][0, BACKGROUND:], self.given["pred_logits_maskdino"][0]
        pooled = (class_logits(x, tokens, self.options.max_pool) for x in (words, vector_words))
        proposals, vectors = pooled
        self.proposals = of_proposals(proposals, self.things, self.options)
        self.vectors = of_vectors(vectors, self.things, self.options)
        self.boxes = self.given["pred_boxes"][0, BACKGROUND:]
        self.masks = self.given["pred_masks"][0, BACKGROUND:, 0]
        self.scores = probabilities(self.proposals, self.given["pred_boxious"][0, BACKGROUND:, 0])
        self.kept = survivors(self.scores, self.boxes, self.options)
        original, resized = self.given["in_height_width"].tolist(), self.given["image"].shape[1:]
        canvas = (4 * self.masks.shape[1], 4 * self.masks.shape[2])
        self.geometry = ImageGeometry((original[0], original[1]), (resized[0], resized[1]), canvas)

    def chosen(self) -> Chosen:
        return choose(self.scores, self.boxes, self.kept, self.geometry, self.options.most)

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and mask logits of what maps are merged from."""
        if self.options.use_bg_for_pano:
            return map_probabilities(self.vectors, self.options), self.given["md_masks"][0]
        logits = np.concatenate([self.proposals[self.kept], self.vectors])
        return map_probabilities(logits, self.options), np.concatenate(
            [self.masks[self.kept], self.given["md_masks"][0]]
        )


@pytest.mark.parametrize("case", SETTINGS)
def test_class_logits_and_instances(case: str) -> None:
    """Pairs of score 0, of classes that a query cannot be, fill the list up in no order that means anything."""
    heads, expected = Heads(case), arrays(case)
    np.testing.assert_allclose(heads.proposals, expected["class_logits_fg0"], atol=EXACT_TO, rtol=EXACT_TO)
    np.testing.assert_allclose(heads.vectors, expected["class_logits_bg0"], atol=EXACT_TO, rtol=EXACT_TO)
    assert heads.kept.tolist() == expected["nms_keep0"].tolist()
    found = heads.chosen()
    np.testing.assert_allclose(found.scores, expected["final_scores0"], atol=EXACT_TO)
    real = int((expected["final_scores0"] > 0).sum())
    assert real >= 60
    assert found.classes[:real].tolist() == expected["final_classes0"][:real].tolist()
    np.testing.assert_allclose(found.boxes_xyxy[:real], expected["final_boxes0"][:real], atol=1e-3)


@pytest.mark.parametrize("case", [case for case in SETTINGS if case != "detection_portrait"])
def test_panoptic_maps_and_segments(case: str) -> None:
    heads, expected = Heads(case), arrays(case)
    ids, segments = panoptic(*heads.rows(), heads.geometry, heads.things, heads.options)
    assert np.array_equal(ids, expected["final_panoptic0"])
    found = [[segment.id, int(segment.is_thing), segment.class_index] for segment in segments]
    assert found == expected["final_segments0"].tolist()


def test_semantic_scores() -> None:
    heads, expected = Heads("detection"), arrays("detection")
    found, masks = heads.rows()
    np.testing.assert_allclose(found, expected["pano_class_prob0"], atol=EXACT_TO)
    scores = semantic_scores(found, masks, heads.geometry)
    np.testing.assert_allclose(scores, expected["final_sem_seg0"], atol=1e-5 * float(scores.max()))


def test_masks_of_instances() -> None:
    heads, expected = Heads("detection"), arrays("detection")
    found = heads.chosen()
    shape = tuple(expected["final_masks0_shape"].tolist())
    masks = np.unpackbits(expected["final_masks0_packed"])[: int(np.prod(shape))].reshape(shape).astype(bool)
    for row in range(int((expected["final_scores0"] > 0).sum())):
        mine = instance_mask(heads.masks[found.queries[row]], heads.geometry, heads.options.mask_thres)
        assert np.array_equal(mine, masks[row])


def test_pooling_of_tokens() -> None:
    stored = arrays("functions")
    logits = stored["agg_logits"][0]
    assert stored["agg_None_mean"][0].shape[0] == logits.shape[0]
    tokens = np.zeros((2, logits.shape[1]), bool)
    tokens[0, 1:4], tokens[1, 5] = True, True
    np.testing.assert_allclose(class_logits(logits, tokens, False)[:, 0], logits[:, 1:4].mean(1), rtol=1e-6)
    assert np.array_equal(class_logits(logits, tokens, True)[:, 0], logits[:, 1:4].max(1))
    assert np.array_equal(class_logits(logits, tokens, True)[:, 1], logits[:, 5])


def test_a_class_that_is_not_allowed_has_no_probability() -> None:
    logits = np.full((2, 3), 4.0, np.float32)
    found = of_proposals(logits, [True, False, True], HipieOptions())
    assert sigmoid_f32(found)[:, 1].tolist() == [0, 0]
    assert np.array_equal(of_proposals(logits, [False] * 3, HipieOptions()), logits)
    assert np.array_equal(of_vectors(logits, [False] * 3, HipieOptions()), logits)


def test_a_box_outside_of_the_image_is_no_instance() -> None:
    geometry = ImageGeometry((50, 60), (100, 120), (104, 120))
    boxes = np.array([[0.5, 0.5, 0.2, 0.2], [1.3, 0.5, 0.2, 0.2]], np.float32)
    scores = np.array([[0.5], [0.9]], np.float32)
    found = choose(scores, boxes, np.array([1, 0]), geometry, most=5)
    assert found.queries.tolist() == [0]
    np.testing.assert_allclose(found.boxes_xyxy, [[24, 20, 36, 30]], rtol=1e-6)
