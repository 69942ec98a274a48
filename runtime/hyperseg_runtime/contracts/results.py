"""What a segmentation returns, and its file forms."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask


@dataclass(frozen=True)
class SegmentationResult:
    """Masks for one image and one text, best first.

    masks       (M, H, W) bool, at the size of the image given
    scores      (M,) float32 in 0..1
    queries     (M,) int64, index of the mask query behind each mask
    text        what was asked
    task        which prompt was used
    timings_ms  wall time of each stage
    evaluated   mask queries that had to be brought to full size to be sure of the best one
    prompt_tokens, reused_tokens
                rows of the prompt, and how many of them the key/value cache had already
    """

    masks: np.ndarray
    scores: np.ndarray
    queries: np.ndarray
    text: str
    task: str
    timings_ms: Mapping[str, float]
    evaluated: int
    prompt_tokens: int
    reused_tokens: int

    def __post_init__(self) -> None:
        count = len(self.masks)
        if self.masks.ndim != 3 or self.masks.dtype != np.bool_:
            raise ValueError(f"masks must be (M, H, W) bool, got {self.masks.dtype} {self.masks.shape}")
        if self.scores.shape != (count,) or self.queries.shape != (count,):
            raise ValueError(f"{count} masks but scores {self.scores.shape}, queries {self.queries.shape}")

    @property
    def mask(self) -> np.ndarray:
        """The best mask, (H, W) bool."""
        best: np.ndarray = self.masks[0]
        return best

    @property
    def score(self) -> float:
        """Score of the best mask."""
        return float(self.scores[0])

    @property
    def boxes_xyxy(self) -> np.ndarray:
        """Tight boxes in pixels, (M, 4) float32; right and bottom edges are exclusive; zeros for no pixel."""
        return np.array([box_xyxy(mask) for mask in self.masks], np.float32).reshape(-1, 4)

    def to_json(self) -> dict[str, Any]:
        """One JSON object; masks as compressed COCO run-length encoding, boxes as COCO x, y, width, height."""
        height, width = self.masks.shape[1:]
        return {
            "text": self.text,
            "task": self.task,
            "image_height_px": height,
            "image_width_px": width,
            "masks": [
                {
                    "score": round(float(score), 6),
                    "query": int(query),
                    "area_px": int(mask.sum()),
                    "bbox_xywh_px": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": encode_rle(mask),
                }
                for mask, score, query in zip(self.masks, self.scores, self.queries, strict=True)
                for x0, y0, x1, y1 in (box_xyxy(mask),)
            ],
            "queries_evaluated": self.evaluated,
            "prompt_tokens": self.prompt_tokens,
            "reused_tokens": self.reused_tokens,
            "timings_ms": {name: round(value, 3) for name, value in self.timings_ms.items()},
        }


def label_map(results: Sequence[SegmentationResult]) -> np.ndarray:
    """Which result each pixel belongs to, (H, W) uint16: 1 for the first, 0 for none; the best score wins."""
    if not results:
        raise ValueError("without a result there is no size")
    labels = np.zeros(results[0].mask.shape, np.uint16)
    for number, result in sorted(enumerate(results, 1), key=lambda pair: (pair[1].score, -pair[0])):
        labels[result.mask] = number
    return labels


def box_xyxy(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Tight box of a (H, W) bool mask as x0, y0, x1, y1 with exclusive x1, y1; zeros for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """Compressed COCO run-length encoding of a (H, W) bool mask, ready for JSON."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(extent) for extent in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_rle(rle: Mapping[str, Any]) -> np.ndarray:
    """Inverse of `encode_rle`, (H, W) bool."""
    mask: np.ndarray = coco_mask.decode({"size": rle["size"], "counts": rle["counts"].encode("ascii")})
    return mask.astype(bool)


def encode_png(image: np.ndarray) -> bytes:
    """PNG bytes of a (H, W) bool mask (255 inside, 0 outside) or an (H, W, 3) uint8 image."""
    pixels = image.astype(np.uint8) * 255 if image.dtype == np.bool_ else image
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()
