"""Results as the files that annotation tools and data sets use: COCO, GeoJSON, labelme, YOLO.

Polygons run through the centres of the outermost pixels, as OpenCV finds them and as labelme and Pillow fill them:
filled with their border they give the mask back. labelme and YOLO have no holes: there they are filled.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from hyperseg_runtime.console import json_bytes
from hyperseg_runtime.contracts.results import Instances, PanopticMap, Result, SemanticMap, box_xyxy, encode_rle

Ring = list[list[int]]
"""x, y of a closed line, the first point not repeated."""


@dataclass(frozen=True)
class Part:
    """One mask of a result: (H, W) bool with a pixel or more; `score` None where a result has none."""

    label: str
    mask: np.ndarray
    score: float | None = None
    is_thing: bool = True


@dataclass(frozen=True)
class Annotated:
    """A result of the image of this file name; `ids` of categories by label, in the order of the list."""

    result: Result
    image_name: str
    image_hw: tuple[int, int]
    ids: Mapping[str, int]

    @classmethod
    def of(
        cls, result: Result, image_name: str, image_hw: tuple[int, int], ids: Mapping[str, int] | None
    ) -> "Annotated":
        """What was asked and what was found beyond `ids` is numbered behind them, or from 1."""
        numbered = dict(ids or {})
        for label in (*result.asked, *(result.labels if isinstance(result, Instances) else ())):
            numbered.setdefault(label, max(numbered.values(), default=0) + 1)
        return cls(result, image_name, image_hw, numbered)

    def coco(self, map_name: str) -> bytes:
        """COCO's file for one image (cocodataset.org/#format-data): objects of instances and of semantic maps, segments
        of a panoptic map, whose PNG is `map_name`. Image and annotations are numbered from 1.
        """
        height, width = self.image_hw
        image = {"id": 1, "file_name": self.image_name, "width": width, "height": height}
        found = self.result
        if isinstance(found, PanopticMap):
            rows = [{"image_id": 1, "file_name": map_name, "segments_info": list(self._segments(found))}]
        else:
            rows = [
                {"id": number, "image_id": 1, "iscrowd": 0, **self._object(part)}
                for number, part in enumerate(parts_of(found), 1)
            ]
        things = {part.label: int(part.is_thing) for part in parts_of(found)} if isinstance(found, PanopticMap) else {}
        categories = [
            {"id": number, "name": label, **({"isthing": things[label]} if label in things else {})}
            for label, number in self.ids.items()
        ]
        return json_bytes({"images": [image], "annotations": rows, "categories": categories})

    def _object(self, part: Part) -> dict[str, Any]:
        x0, y0, x1, y1 = box_xyxy(part.mask)
        return {
            "category_id": self.ids[part.label],
            "segmentation": encode_rle(part.mask),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": int(part.mask.sum()),
            **({} if part.score is None else {"score": round(part.score, 6)}),
        }

    def _segments(self, found: PanopticMap) -> Iterator[dict[str, Any]]:
        for row in found.to_json()["segments_info"]:
            kept = {name: row[name] for name in ("id", "isthing", "score", "area", "bbox")}
            yield {**kept, "category_id": self.ids[row["label"]], "iscrowd": 0}

    def polygons(self) -> bytes:
        """GeoJSON's form (RFC 7946) in pixels of the image, y downwards; with holes."""
        features = [
            {
                "type": "Feature",
                "properties": {"label": part.label, "score": part.score},
                "geometry": {
                    "type": "MultiPolygon",
                    "coordinates": [[[*ring, ring[0]] for ring in rings] for rings in rings_of(part.mask)],
                },
            }
            for part in parts_of(self.result)
        ]
        return json_bytes({"type": "FeatureCollection", "features": features})

    def labelme(self) -> bytes:
        """labelme's file, to lie beside the image; the pieces of one mask share a group."""
        height, width = self.image_hw
        shapes = [
            {"label": part.label, "points": outer, "group_id": group, "shape_type": "polygon", "flags": {}}
            for group, part in enumerate(parts_of(self.result), 1)
            for outer, *_ in rings_of(part.mask)
        ]
        about: dict[str, Any] = {"version": "5.5.0", "flags": {}, "imagePath": self.image_name, "imageData": None}
        return json_bytes({**about, "imageHeight": height, "imageWidth": width, "shapes": shapes})

    def yolo(self) -> bytes:
        """A line for each piece of a mask: index of its class, then x and y as shares of the image's sides
        (docs.ultralytics.com/datasets/segment).
        """
        height, width = self.image_hw
        index_of = {label: index for index, label in enumerate(self.ids)}
        lines = [
            " ".join([str(index_of[part.label]), *(f"{x / width:.6f} {y / height:.6f}" for x, y in outer)])
            for part in parts_of(self.result)
            for outer, *_ in rings_of(part.mask)
            if len(outer) >= FEWEST_POINTS
        ]
        return "".join(f"{line}\n" for line in lines).encode()


FEWEST_POINTS = 3
"""Of a polygon that a reader of YOLO's files takes."""


def parts_of(result: Result) -> list[Part]:
    """Every mask of a result that has a pixel."""
    match result:
        case Instances(labels=labels, scores=scores, masks=masks):
            found = [Part(*row) for row in zip(labels, masks, scores.tolist(), strict=True)]
        case SemanticMap(asked=names, classes=classes):
            found = [Part(name, classes == index, is_thing=False) for index, name in enumerate(names)]
        case PanopticMap(asked=names, ids=ids, segments=segments):
            found = [Part(names[s.class_index], ids == s.id, s.score, s.is_thing) for s in segments]
    return [part for part in found if part.mask.any()]


def rings_of(mask: np.ndarray) -> Sequence[list[Ring]]:
    """For each piece of a (H, W) bool mask its outer line, then those of its holes."""
    lines, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not lines:
        return []
    rings = [line[:, 0].tolist() for line in lines]
    parents = tree[0, :, 3].tolist()
    outer = [index for index, parent in enumerate(parents) if parent < 0]
    return [[rings[index], *(rings[i] for i, parent in enumerate(parents) if parent == index)] for index in outer]
