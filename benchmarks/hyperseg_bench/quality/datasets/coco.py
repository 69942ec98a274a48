"""COCO's instances and panoptic maps (layout: cocodataset.org/#download and #format-data, the 2017 files)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperseg_bench.quality.asks.instances import InstancesAsk
from hyperseg_bench.quality.asks.panoptic import PanopticAsk
from hyperseg_bench.quality.asks.semantic import SemanticAsk
from hyperseg_bench.quality.datasets.files import by_number, field_of, first_of, image_file, read_json, require_numbers
from hyperseg_bench.quality.datasets.masks import checked_segmentation, read_map
from hyperseg_bench.quality.metrics.panoptic import Segment
from hyperseg_bench.quality.samples import Sample
from hyperseg_runtime.errors import InputError

LAYOUT = "val2017/IMAGE.jpg and annotations/{instances,panoptic}_val2017.json, annotations/panoptic_val2017/IMAGE.png"


class _Annotated:
    """A COCO annotation file: its images by key, in the order of their ids."""

    def __init__(self, folder: Path, split: str, what: str) -> None:
        self.path = first_of(folder, f"annotations/{what}_{split}2017.json")
        self.image_folder = first_of(folder, f"{split}2017", f"images/{split}2017")
        self.content = read_json(self.path)
        images = by_number(field_of(self.content, "images", self.path), "id", self.path)
        self.images = {str(number): images[number] for number in sorted(images)}
        categories = by_number(field_of(self.content, "categories", self.path), "id", self.path)
        self.categories: list[dict[str, Any]] = list(categories.values())
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
        size = int(image["height"]), int(image["width"])
        for annotation in self._of_image.get(key, ()):
            checked_segmentation(annotation["segmentation"], *size)
            require_numbers(annotation, ("area", "category_id", "id"))
        ask = InstancesAsk(
            "instances",
            self.names,
            tuple(int(category["id"]) for category in self.categories),
            tuple(self._of_image.get(key, ())),
            size,
        )
        return Sample(key, (self.frame(key),), (ask,))


class CocoPanoptic(_Annotated):
    """Every category asked for at once, against the segments of each image and the classes of its pixels."""

    def __init__(self, folder: Path, split: str) -> None:
        super().__init__(folder, split, "panoptic")
        self.maps = first_of(folder, f"annotations/panoptic_{split}2017", f"panoptic_{split}2017")
        self._index = {int(category["id"]): index for index, category in enumerate(self.categories)}
        found = by_number(field_of(self.content, "annotations", self.path), "image_id", self.path)
        self._of_image = {str(number): annotation for number, annotation in found.items()}

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
    rgb = read_map(path, ("RGB",)).astype(np.int32)
    numbers: np.ndarray = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
    return numbers
