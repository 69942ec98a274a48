"""Expressions about videos: Ref-YouTube-VOS, Ref-DAVIS17 and ReVOS.

Ref-YouTube-VOS: meta_expressions/SPLIT/meta_expressions.json, SPLIT/JPEGImages/VIDEO/FRAME.jpg and
SPLIT/Annotations/VIDEO/FRAME.png, whose values are object numbers; Ref-DAVIS17 in the same layout
(github.com/wjn922/ReferFormer, docs/data.md and tools/data/convert_davis_to_ytvos.py).

ReVOS: meta_expressions_SPLIT_.json, mask_dict.json (annotation id -> run lengths of each frame, or nothing), JPEGImages
(github.com/cilinyan/ReVOS-api; scored as tools/eval_revos.py of github.com/cilinyan/VISA does).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperseg_bench.quality.asks.ask import ALL
from hyperseg_bench.quality.asks.clip import ClipAsk
from hyperseg_bench.quality.datasets.files import field_of, first_of, folder_in, image_file, read_json
from hyperseg_bench.quality.datasets.masks import annotation_mask, read_map
from hyperseg_bench.quality.metrics.stored_masks import StoredMasks
from hyperseg_bench.quality.samples import Sample
from hyperseg_runtime.errors import InputError

LAYOUT = "meta_expressions/SPLIT/meta_expressions.json, SPLIT/JPEGImages/VIDEO/, SPLIT/Annotations/VIDEO/"
REVOS_LAYOUT = "meta_expressions_SPLIT_.json, mask_dict.json, JPEGImages/VIDEO/"
VOID = 255
"""DAVIS's value of pixels that belong to nobody."""
REVOS_KINDS = {0: "referring", 1: "reasoning", 2: "absent"}
"""`type_id` -> what the expression is like."""


class NumberedObjects:
    """Videos whose annotations are PNG with object numbers."""

    def __init__(self, folder: Path, split: str) -> None:
        """Raises InputError where the annotations are missing: those of Ref-YouTube-VOS's valid are not published."""
        self._path = first_of(folder, f"meta_expressions/{split}/meta_expressions.json")
        self._frames = first_of(folder, f"{split}/JPEGImages")
        self._annotations = first_of(folder, f"{split}/Annotations")
        self._videos: dict[str, dict[str, Any]] = field_of(read_json(self._path), "videos", self._path)

    @property
    def keys(self) -> Sequence[str]:
        return sorted(self._videos)

    def sample(self, key: str) -> Sample:
        video, names = self._videos[key], [str(name) for name in self._videos[key]["frames"]]
        annotations, frames = (folder_in(folder, key) for folder in (self._annotations, self._frames))
        maps = [read_map(image_file(annotations, name), ("P", "L", "1")) for name in names]
        void = StoredMasks(numbers == VOID for numbers in maps) if any((m == VOID).any() for m in maps) else None
        asks = []
        for name, entry in video["expressions"].items():
            objects = [int(number) for number in _listed(field_of(entry, "obj_id", self._path))]
            truth = StoredMasks(np.isin(numbers, objects) for numbers in maps)
            asks.append(ClipAsk(f"expression-{name}", str(entry["exp"]), truth, void=void))
        return Sample(key, tuple(image_file(frames, name) for name in names), tuple(asks))


class Revos:
    """ReVOS; the authors' overall number is the mean of those of `referring` and `reasoning`."""

    def __init__(self, folder: Path, split: str) -> None:
        self._path = first_of(folder, f"meta_expressions_{split}_.json")
        self._frames = first_of(folder, "JPEGImages")
        self._videos: dict[str, dict[str, Any]] = field_of(read_json(self._path), "videos", self._path)
        self._masks: Mapping[str, Sequence[Any]] = read_json(first_of(folder, "mask_dict.json"))

    @property
    def keys(self) -> Sequence[str]:
        return sorted(self._videos)

    def sample(self, key: str) -> Sample:
        video = self._videos[key]
        asks = [
            ClipAsk(
                f"expression-{name}",
                str(entry["exp"]),
                self._truth(video, _listed(field_of(entry, "anno_id", self._path))),
                REVOS_KINDS.get(entry.get("type_id"), ALL),
            )
            for name, entry in video["expressions"].items()
        ]
        folder = folder_in(self._frames, key)
        frames = tuple(image_file(folder, str(name)) for name in video["frames"])
        return Sample(key, frames, tuple(asks))

    def _truth(self, video: Mapping[str, Any], numbers: Sequence[Any]) -> StoredMasks:
        """Of all the annotations together."""
        height, width = int(video["height"]), int(video["width"])
        missing = [number for number in numbers if str(number) not in self._masks]
        if missing:
            raise InputError(f"mask_dict.json: has no masks of annotation {missing[0]}")
        truth = StoredMasks()
        for frame in range(len(video["frames"])):
            mask = np.zeros((height, width), np.bool_)
            for rle in (self._masks[str(number)][frame] for number in numbers):
                if rle:
                    mask |= annotation_mask({"segmentation": rle}, height, width)
            truth.append(mask)
        return truth


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]
