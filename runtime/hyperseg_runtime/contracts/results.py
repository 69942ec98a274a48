"""What a segmentation returns: instances, a semantic map or a panoptic map, and their COCO forms.

All three know what was asked, how long each stage took, and in `details` what only one family can tell.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from hyperseg_runtime.errors import InputError

TRACK = "track"
"""Key of `Instances.instance_details` for the number of an object that is followed through the frames of a video."""
PARTS = "parts"
"""Key of the same for a list of the object's parts, each with `name`, `area_px` and `segmentation`."""


@dataclass(frozen=True, kw_only=True)
class _Answered:
    """asked       texts or class names of the request
    task        in which of the family's tasks it was answered
    timings_ms  wall time of each stage of the whole call
    details     JSON values that only this family gives, such as prompt tokens
    """

    asked: tuple[str, ...]
    task: str
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    def asked_as(self, *asked: str) -> Self:
        """The same for what was really asked, where the model put other words in its place."""
        return replace(self, asked=asked)

    def timed(self, timings_ms: Mapping[str, float]) -> Self:
        """The same with these times."""
        return replace(self, timings_ms=dict(timings_ms))

    def _json(self, kind: str, height: int, width: int, content: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "kind": kind,
            "asked": list(self.asked),
            "task": self.task,
            "image_height_px": height,
            "image_width_px": width,
            **content,
            "details": dict(self.details),
            "timings_ms": {name: round(value, 3) for name, value in self.timings_ms.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Instances(_Answered):
    """Masks with scores and labels, best first; they may overlap.

    masks   (M, H, W) bool, at the size of the image given
    scores  (M,) float32 in 0..1
    labels  M texts: the expression, class or name that each mask is of
    instance_details
            for each mask JSON values that only this family gives, or nothing for all
    """

    kind: ClassVar[str] = "instances"

    masks: np.ndarray
    scores: np.ndarray
    labels: tuple[str, ...]
    instance_details: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        count = len(self.masks)
        if self.masks.ndim != 3 or self.masks.dtype != np.bool_:
            raise ValueError(f"masks must be (M, H, W) bool, got {self.masks.dtype} {self.masks.shape}")
        if self.scores.shape != (count,) or len(self.labels) != count:
            raise ValueError(f"{count} masks but scores {self.scores.shape}, {len(self.labels)} labels")
        if self.instance_details and len(self.instance_details) != count:
            raise ValueError(f"{count} masks but details of {len(self.instance_details)}")

    @property
    def mask(self) -> np.ndarray:
        """The best mask, (H, W) bool; without a pixel where there is none."""
        best: np.ndarray = self.masks[0] if len(self.masks) else np.zeros(self.masks.shape[1:], np.bool_)
        return best

    @property
    def score(self) -> float:
        """Score of the best mask, 0 where there is none."""
        return float(self.scores[0]) if len(self.scores) else 0.0

    @property
    def boxes_xyxy(self) -> np.ndarray:
        """Tight boxes in pixels, (M, 4) float32; right and bottom edges are exclusive; zeros for no pixel."""
        return np.array([box_xyxy(mask) for mask in self.masks], np.float32).reshape(-1, 4)

    @property
    def has_parts(self) -> bool:
        """Whether objects were looked at for parts (`PARTS`)."""
        return any(PARTS in details for details in self.instance_details)

    def parts(self, row: int) -> Iterator[tuple[str, np.ndarray]]:
        """Name and mask, (H, W) bool, of each part of an object whose parts are known (`PARTS`)."""
        details = self.instance_details[row] if self.instance_details else {}
        return ((part["name"], decode_rle(part["segmentation"])) for part in details.get(PARTS, ()))

    def chosen(self, rows: Sequence[int]) -> Self:
        """These rows, in this order."""
        picked = list(rows)
        return replace(
            self,
            masks=self.masks[picked],
            scores=self.scores[picked],
            labels=tuple(self.labels[row] for row in picked),
            instance_details=tuple(self.instance_details[row] for row in picked if self.instance_details),
        )

    def best_first(self) -> Self:
        """The same by falling score; equal ones stay in their order."""
        return self.chosen(np.argsort(-self.scores, kind="stable").tolist())

    def at_least(self, min_score: float) -> Self:
        """Those whose score reaches `min_score`."""
        return self.chosen([row for row, score in enumerate(self.scores) if score >= min_score])

    def label_map(self) -> np.ndarray:
        """Which instance each pixel belongs to, (H, W) uint16: 1 for the first, 0 for none.

        The best score wins, of equal ones the first.
        """
        numbers = np.zeros(self.masks.shape[1:], np.uint16)
        for row in np.argsort(-self.scores, kind="stable")[::-1].tolist():
            numbers[self.masks[row]] = row + 1
        return numbers

    def to_png(self) -> bytes:
        """The best mask of one thing asked, 255 inside; of several the number of each pixel's instance, 16 bits."""
        return encode_png(self.mask if len(self.asked) == 1 else self.label_map())

    def to_json(self) -> dict[str, Any]:
        """One JSON object; masks as compressed COCO run-length encoding, boxes as COCO x, y, width, height."""
        height, width = self.masks.shape[1:]
        details = self.instance_details or ({},) * len(self.masks)
        rows = [
            {
                "label": label,
                "score": round(float(score), 6),
                "area_px": int(mask.sum()),
                "bbox_xywh_px": [x0, y0, x1 - x0, y1 - y0],
                "segmentation": encode_rle(mask),
                "details": dict(own),
            }
            for label, mask, score, own in zip(self.labels, self.masks, self.scores, details, strict=True)
            for x0, y0, x1, y1 in (box_xyxy(mask),)
        ]
        return self._json(self.kind, height, width, {"instances": rows})


@dataclass(frozen=True, kw_only=True)
class SemanticMap(_Answered):
    """The class of every pixel.

    classes  (H, W) int32, index into `asked`, -1 for none of them
    """

    kind: ClassVar[str] = "semantic"

    classes: np.ndarray

    def __post_init__(self) -> None:
        if self.classes.ndim != 2 or self.classes.dtype != np.int32:
            raise ValueError(f"classes must be (H, W) int32, got {self.classes.dtype} {self.classes.shape}")

    def at_least(self, min_score: float) -> Self:
        """The same, which has no scores. Raises InputError for any `min_score` above 0."""
        if min_score > 0:
            raise InputError(f"a semantic map has no scores, so that a least score of {min_score:g} chooses nothing")
        return self

    def to_png(self) -> bytes:
        """The class of each pixel counted from 1, 0 for none, 16 bits."""
        return encode_png((self.classes + 1).astype(np.uint16))

    def to_json(self) -> dict[str, Any]:
        """One JSON object; a run-length encoded mask for every class that has a pixel (COCO-stuff's form)."""
        found = [int(index) for index in np.unique(self.classes) if index >= 0]
        masks = {index: self.classes == index for index in found}
        rows = [
            {"label": self.asked[index], "class": index, "area_px": int(m.sum()), "segmentation": encode_rle(m)}
            for index, m in masks.items()
        ]
        height, width = self.classes.shape
        return self._json(self.kind, height, width, {"classes": rows})


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map: its id there, its class as index into `asked`, thing or stuff."""

    id: int
    class_index: int
    is_thing: bool
    score: float


@dataclass(frozen=True, kw_only=True)
class PanopticMap(_Answered):
    """Every pixel belongs to at most one segment.

    ids       (H, W) int32, the id of each pixel's segment, 0 for none
    segments  what the ids mean
    """

    kind: ClassVar[str] = "panoptic"

    ids: np.ndarray
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        if self.ids.ndim != 2 or self.ids.dtype != np.int32:
            raise ValueError(f"ids must be (H, W) int32, got {self.ids.dtype} {self.ids.shape}")
        known = {segment.id for segment in self.segments} | {0}
        if len(known) != len(self.segments) + 1 or not set(np.unique(self.ids).tolist()) <= known:
            raise ValueError("ids and segments do not belong together")

    def at_least(self, min_score: float) -> Self:
        """Those segments whose score reaches `min_score`; pixels of the others are of none. `details` stay."""
        kept = tuple(segment for segment in self.segments if np.float32(segment.score) >= min_score)  # as instances
        if len(kept) == len(self.segments):
            return self
        inside = np.isin(self.ids, [segment.id for segment in kept])
        return replace(self, ids=np.where(inside, self.ids, np.int32(0)), segments=kept)

    def to_json(self) -> dict[str, Any]:
        """One JSON object; `segments_info` as in COCO's panoptic format, with each segment's run-length encoding."""
        rows = []
        for segment in self.segments:
            mask = self.ids == segment.id
            x0, y0, x1, y1 = box_xyxy(mask)
            rows.append(
                {
                    "id": segment.id,
                    "label": self.asked[segment.class_index],
                    "category_id": segment.class_index,
                    "isthing": int(segment.is_thing),
                    "score": round(segment.score, 6),
                    "area": int(mask.sum()),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": encode_rle(mask),
                }
            )
        height, width = self.ids.shape
        return self._json(self.kind, height, width, {"segments_info": rows})

    def to_png(self) -> bytes:
        """COCO's panoptic PNG: id = R + 256 G + 256^2 B."""
        return encode_png(np.stack([(self.ids >> shift) & 255 for shift in (0, 8, 16)], -1).astype(np.uint8))


Result = Instances | SemanticMap | PanopticMap


def joined(parts: Sequence[Instances], asked: Sequence[str], task: str, image_hw: tuple[int, int]) -> Instances:
    """The instances of several results as one, best first; numbers in `details` are added up."""
    details: dict[str, Any] = {}
    for part in parts:
        for name, value in part.details.items():
            details[name] = details.get(name, 0) + value
    return Instances(
        asked=tuple(asked),
        task=task,
        masks=np.concatenate([np.zeros((0, *image_hw), np.bool_), *(part.masks for part in parts)]),
        scores=np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)]),
        labels=tuple(label for part in parts for label in part.labels),
        instance_details=tuple(own for part in parts for own in part.instance_details),
        details=details,
    ).best_first()


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
    """PNG bytes of a (H, W) bool mask (255 inside, 0 outside), (H, W) uint16 numbers or an (H, W, 3) uint8 image."""
    pixels = image.astype(np.uint8) * 255 if image.dtype == np.bool_ else image
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()
