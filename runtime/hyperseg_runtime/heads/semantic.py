"""A class list, a class for every pixel: what the queries see there, weighted by what they are (arXiv 2112.01527)."""

from collections.abc import Iterator

import numpy as np

from hyperseg_runtime.calls.stopping import may_go_on
from hyperseg_runtime.heads.class_scores import class_probabilities
from hyperseg_runtime.heads.full_size import sigmoid
from hyperseg_runtime.images.preprocessing import ImageGeometry
from hyperseg_runtime.images.resizing import resize_bilinear


def semantic_scores(class_logits: np.ndarray, mask_logits: np.ndarray, geometry: ImageGeometry) -> Iterator[np.ndarray]:
    """Scores (H, W) float32 of one class after another; the maps of all classes never exist at once.

    class_logits (Q, C + 1), mask_logits (Q, h, w) float32 at the network's resolution. A score is the sum over the
    queries of class probability times mask probability, made in the padded square, then cut and brought to the size of
    the image.
    """
    weights = class_probabilities(class_logits)[:, :-1]
    masks = np.empty((len(mask_logits), *geometry.valid_hw), np.float32)
    for query, logits in enumerate(mask_logits):
        may_go_on()
        masks[query] = sigmoid(resize_bilinear(logits, geometry.padded_hw, geometry.valid_hw))
    for of_class in weights.T:
        may_go_on()
        yield resize_bilinear(np.tensordot(of_class, masks, 1), geometry.original_hw)


def semantic_map(class_logits: np.ndarray, mask_logits: np.ndarray, geometry: ImageGeometry) -> np.ndarray:
    """The class of the largest score for every pixel, (H, W) int32; of equal scores the first class."""
    classes = np.zeros(geometry.original_hw, np.int32)
    best = np.full(geometry.original_hw, -np.inf, np.float32)
    for index, scores in enumerate(semantic_scores(class_logits, mask_logits, geometry)):
        better = scores > best
        classes[better] = index
        best[better] = scores[better]
    return classes
