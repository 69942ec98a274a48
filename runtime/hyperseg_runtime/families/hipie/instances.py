"""Which queries are objects, of which class, and their boxes and masks at the size of the image (hipie-spec 13.2)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperseg_runtime.families.hipie.class_logits import sigmoid_f32
from hyperseg_runtime.families.hipie.options import HipieOptions
from hyperseg_runtime.heads.suppression import best_boxes
from hyperseg_runtime.images.preprocessing import ImageGeometry
from hyperseg_runtime.images.resizing import resize_bilinear


@dataclass(frozen=True)
class Chosen:
    """Pairs of query and class, best first. One query may stand for several classes."""

    queries: np.ndarray  # (M,) int64
    classes: np.ndarray  # (M,) int64
    scores: np.ndarray  # (M,) float32
    boxes_xyxy: np.ndarray  # (M, 4) float32, pixels of the image

    def rows(self, wanted: np.ndarray) -> "Chosen":
        """Those that `wanted` (M,) bool picks."""
        return Chosen(self.queries[wanted], self.classes[wanted], self.scores[wanted], self.boxes_xyxy[wanted])

    def details(self) -> tuple[dict[str, Any], ...]:
        """What is known of each beside its mask, ready for JSON."""
        rows = zip(self.queries.tolist(), self.boxes_xyxy.tolist(), strict=True)
        return tuple({"query": query, "box_xyxy_px": [round(edge, 3) for edge in box]} for query, box in rows)


def probabilities(logits: np.ndarray, iou_logits: np.ndarray) -> np.ndarray:
    """Class logits (Q, K), IoU logits (Q,) -> geometric mean of both probabilities, (Q, K) float32."""
    found: np.ndarray = np.sqrt(sigmoid_f32(logits) * sigmoid_f32(iou_logits)[:, None])
    return found


def corners(boxes: np.ndarray) -> np.ndarray:
    """cx, cy, w, h (..., 4) -> x0, y0, x1, y1."""
    centre, half = boxes[..., :2], boxes[..., 2:] * np.float32(0.5)
    return np.concatenate([centre - half, centre + half], axis=-1)


def survivors(scores: np.ndarray, boxes: np.ndarray, options: HipieOptions) -> np.ndarray:
    """Queries left when those that another of the same class covers are gone, best first, (M,) int64.

    scores (Q, K), boxes (Q, 4) as cx, cy, w, h in 0..1.
    """
    return best_boxes(corners(boxes), scores.max(1), scores.argmax(1), options.max_overlap)


def choose(scores: np.ndarray, boxes: np.ndarray, kept: np.ndarray, geometry: ImageGeometry, most: int) -> Chosen:
    """The `most` likeliest pairs of the queries kept; those whose box lies outside of the image are left out."""
    classes = scores.shape[1]
    flat = scores[kept].reshape(-1)
    order = np.argsort(-flat, kind="stable")[:most]
    queries, labels = kept[order // classes], order % classes
    height, width = geometry.valid_hw
    size = np.array([width, height, width, height], np.float32)
    out_height, out_width = geometry.original_hw
    scale = np.array([out_width / width, out_height / height] * 2, np.float32)
    limit = np.array([out_width, out_height] * 2, np.float32)
    placed = np.clip(corners(boxes[queries]) * size * scale, 0, limit)
    inside = (placed[:, 2] > placed[:, 0]) & (placed[:, 3] > placed[:, 1])
    return Chosen(queries[inside], labels[inside], flat[order][inside], placed[inside])


def instance_mask(mask_logits: np.ndarray, geometry: ImageGeometry, mask_thres: float) -> np.ndarray:
    """Logits (h, w) at a quarter of the canvas -> (H, W) bool at the size of the image.

    Enlarged to the canvas, cut to the image, decided, and brought to its own size by the nearest pixel.
    """
    large = resize_bilinear(mask_logits, geometry.padded_hw, geometry.valid_hw)
    return nearest(sigmoid_f32(large) > np.float32(mask_thres), geometry.original_hw)


def nearest(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(h, w) -> (H, W); pixel o is pixel floor(o * h / H)."""
    rows, columns = (np.arange(target) * source // target for source, target in zip(mask.shape, size_hw, strict=True))
    resized: np.ndarray = mask[rows[:, None], columns]
    return resized
