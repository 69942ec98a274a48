"""RefCOCO, RefCOCO+, RefCOCOg (layout: github.com/lichengunc/refer) and gRefCOCO (github.com/henghuiding/gRefCOCO).

The folder is that repository's data folder: NAME/refs(SPLIT_BY).p (gRefCOCO: grefs(unc).json), NAME/instances.json, and
COCO's train2014 images. A reference has one object (gRefCOCO: any number, also none) and several sentences.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperseg_bench.quality.asks.expression import ExpressionAsk
from hyperseg_bench.quality.datasets.files import by_number, field_of, first_of, image_file, read_json, read_pickle
from hyperseg_bench.quality.datasets.masks import annotation_mask
from hyperseg_bench.quality.samples import Sample
from hyperseg_runtime.errors import InputError

LAYOUT = "NAME/refs(unc).p (refcocog: refs(umd).p, grefcoco: grefs(unc).json), NAME/instances.json, images/train2014/"
IMAGES = ("images/mscoco/images/train2014", "images/train2014", "train2014")
SEVERAL_OBJECTS = ("union",)
"""Tasks in which an expression may name any number of objects."""
NO_TARGET = -1
"""gRefCOCO's annotation id of references that name nothing."""


class Referring:
    """The images of one split, each with all its sentences."""

    def __init__(self, folder: Path, name: str, split: str, references: Sequence[str]) -> None:
        """`references`: the file's possible names. Raises InputError where one is missing or holds no such split."""
        self._tasks = SEVERAL_OBJECTS if name == "grefcoco" else ()
        self._images_folder = first_of(folder, *IMAGES)
        path = first_of(folder, *(f"{name}/{file}" for file in references))
        instances_path = first_of(folder, f"{name}/instances.json")
        instances = read_json(instances_path)
        self._images = by_number(field_of(instances, "images", instances_path), "id", instances_path)
        self._annotations = by_number(field_of(instances, "annotations", instances_path), "id", instances_path)
        content = read_json(path) if path.suffix == ".json" else read_pickle(path)
        self._references: dict[str, list[dict[str, Any]]] = {}
        for reference in content:
            if field_of(reference, "split", path) == split:
                self._references.setdefault(str(reference["image_id"]), []).append(reference)
        if not self._references:
            known = ", ".join(sorted({str(reference["split"]) for reference in content}))
            raise InputError(f"{path}: holds nothing of the split {split!r}; it holds {known or 'nothing'}")

    @property
    def keys(self) -> Sequence[str]:
        return sorted(self._references, key=int)

    def sample(self, key: str) -> Sample:
        image = self._images[int(key)]
        asks = [
            ExpressionAsk(f"sentence-{sentence['sent_id']}", str(sentence["sent"]), mask, tasks=self._tasks)
            for reference in self._references[key]
            for mask in (self._mask(reference, image),)
            for sentence in reference["sentences"]
        ]
        return Sample(key, (image_file(self._images_folder, str(image["file_name"])),), tuple(asks))

    def _mask(self, reference: dict[str, Any], image: dict[str, Any]) -> np.ndarray:
        """Of all the reference's objects together, (H, W) bool."""
        named = reference["ann_id"] if isinstance(reference["ann_id"], list) else [reference["ann_id"]]
        size = int(image["height"]), int(image["width"])
        mask = np.zeros(size, np.bool_)
        for number in named:
            if number != NO_TARGET:
                mask |= annotation_mask(self._annotations[int(number)], *size)
        return mask
