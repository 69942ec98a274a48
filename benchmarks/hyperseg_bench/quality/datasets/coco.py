"""COCO's instances and panoptic maps (layout: cocodataset.org/#download and #format-data, the 2017 files)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from hyperseg_bench.quality.asks.instances import InstancesAsk
from hyperseg_bench.quality.asks.panoptic import PanopticAsk
from hyperseg_bench.quality.asks.semantic import SemanticAsk
from hyperseg_bench.quality.datasets.files import field_of, first_of, image_file, read_json
from hyperseg_bench.quality.metrics.panoptic import Segment
from hyperseg_bench.quality.samples import Sample
from hyperseg_runtime.errors import InputError

LAYOUT = "val2017/IMAGE.jpg and annotations/{instances,panoptic}_val2017.json, annotations/panoptic_val2017/IMAGE.png"


def annotation_mask(annotation: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    """A COCO annotation (polygons, or run lengths of either kind) as (H, W) bool."""
    found = annotation["segmentation"]
    if isinstance(found, list):
        if not found:
            return np.zeros((height, width), np.bool_)
        rle = coco_mask.merge(coco_mask.frPyObjects(found, height, width))
    else:
        rle = coco_mask.frPyObjects(found, height, width) if isinstance(found["counts"], list) else found
    mask: np.ndarray = coco_mask.decode(rle)
    return mask.astype(np.bool_)


class _Annotated:
    """A COCO annotation file: its images by key, in the order of their ids."""

    def __init__(self, folder: Path, split: str, what: str) -> None:
        self.path = first_of(folder, f"annotations/{what}_{split}2017.json")
        self.image_folder = first_of(folder, f"{split}2017", f"images/{split}2017")
        self.content = read_json(self.path)
        images = sorted(field_of(self.content, "images", self.path), key=lambda image: int(image["id"]))
        self.images = {str(image["id"]): image for image in images}
        self.categories: list[dict[str, Any]] = list(field_of(self.content, "categories", self.path))
        self.names = tuple(str(category["name"]) for category in self.categories)

    @property
    def keys(self) -> Sequence[str]:
        return list(self.images)

    def frame(self, key: str) -> Path:
        return image_file(self.image_folder, str(self.images[key]["file_name"]))


class CocoInstances(_Annotated):
    """Every category asked for at once, against the objects of each image."""

    def __init__(self, folder: Path, split: str) -> None:
        super().__init__(folder, split, "instances")
        self._of_image: dict[str, list[dict[str, Any]]] = {}
        for annotation in field_of(self.content, "annotations", self.path):
            self._of_image.setdefault(str(annotation["image_id"]), []).append(annotation)

    def sample(self, key: str) -> Sample:
        image = self.images[key]
        ask = InstancesAsk(
            "instances",
            self.names,
            tuple(int(category["id"]) for category in self.categories),
            tuple(self._of_image.get(key, ())),
            (int(image["height"]), int(image["width"])),
        )
        return Sample(key, (self.frame(key),), (ask,))


class CocoPanoptic(_Annotated):
    """Every category asked for at once, against the segments of each image and the classes of its pixels."""

    def __init__(self, folder: Path, split: str) -> None:
        super().__init__(folder, split, "panoptic")
        self.maps = first_of(folder, f"annotations/panoptic_{split}2017", f"panoptic_{split}2017")
        self._index = {int(category["id"]): index for index, category in enumerate(self.categories)}
        self._of_image = {str(a["image_id"]): a for a in field_of(self.content, "annotations", self.path)}

    def sample(self, key: str) -> Sample:
        if key not in self._of_image:
            raise InputError(f"{self.path}: image {key} has no annotation")
        annotation = self._of_image[key]
        numbers = read_numbers(image_file(self.maps, str(annotation["file_name"])))
        segments = tuple(
            Segment(int(info["id"]), self._index[int(info["category_id"])], bool(info.get("iscrowd", 0)))
            for info in annotation["segments_info"]
        )
        things = tuple(bool(category["isthing"]) for category in self.categories)
        classes = np.full(numbers.shape, -1, np.int32)
        for segment in segments:
            classes[numbers == segment.number] = segment.category
        asks = (
            PanopticAsk("panoptic", self.names, things, numbers, segments),
            SemanticAsk("semantic", self.names, classes),
        )
        return Sample(key, (self.frame(key),), asks)


def read_numbers(path: Path) -> np.ndarray:
    """Segment numbers (H, W) int32 of COCO's panoptic PNG: R + 256 G + 65536 B."""
    rgb = np.asarray(Image.open(path).convert("RGB"), np.int32)
    numbers: np.ndarray = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
    return numbers
