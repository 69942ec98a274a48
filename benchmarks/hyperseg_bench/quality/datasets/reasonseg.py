"""ReasonSeg (layout and meaning: github.com/dvlab-research/LISA, README "Dataset" and utils/data_processing.py).

SPLIT/NAME.jpg with SPLIT/NAME.json: `shapes` (polygons; those labelled "ignore" do not count, "flag" ones are
leftovers), `text` (wordings of which the authors evaluate the first), `is_sentence`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hyperseg_bench.quality.asks.expression import ExpressionAsk
from hyperseg_bench.quality.datasets.files import field_of, first_of, image_file, not_hidden, read_json
from hyperseg_bench.quality.datasets.masks import require_near
from hyperseg_bench.quality.samples import Sample
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.images.reading import load_image

LAYOUT = "SPLIT/NAME.jpg and SPLIT/NAME.json"
TARGET, IGNORED = 1, 255


class ReasonSeg:
    """One split; what is asked is a sentence (`long`) or a phrase (`short`)."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder = first_of(folder, split, f"ReasonSeg/{split}")
        self._names = [path.stem for path in not_hidden(self._folder) if path.suffix == ".json"]
        if not self._names:
            raise InputError(f"{self._folder}: expected NAME.json beside NAME.jpg, found none")

    @property
    def keys(self) -> Sequence[str]:
        return self._names

    def sample(self, key: str) -> Sample:
        path = self._folder / f"{key}.json"
        content, frame = read_json(path), image_file(self._folder, key)
        image = load_image(frame)
        marks = draw_shapes(field_of(content, "shapes", path), *image.shape[:2])
        texts = field_of(content, "text", path)
        if not texts:
            raise InputError(f"{path}: expected a text")
        kind = "long" if content.get("is_sentence") else "short"
        ask = ExpressionAsk("text", str(texts[0]), marks == TARGET, kind, marks == IGNORED, ("reasoning",))
        return Sample(key, (image,), (ask,))


def draw_shapes(shapes: Sequence[dict[str, Any]], height: int, width: int) -> np.ndarray:
    """(H, W) uint8 of 0, `TARGET` and `IGNORED`: polygons with their outlines, large ones first, so that small ones
    stay on top.
    """
    drawn = [
        (_polygon(shape["points"], 1, height, width), "ignore" in shape["label"].lower())
        for shape in shapes
        if shape["label"].lower() != "flag"
    ]
    marks = np.zeros((height, width), np.uint8)
    for polygon, ignored in sorted(drawn, key=lambda entry: -int(entry[0].sum())):
        marks[polygon > 0] = IGNORED if ignored else TARGET
    return marks


def _polygon(points: Sequence[Sequence[float]], value: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    found = np.array(points, np.float64)
    if found.ndim != 2 or found.shape[1] != 2 or not found.size:
        raise InputError("expected a polygon of corners [x, y]")
    require_near(found, height, width)
    corners = [found.astype(np.int32)]
    cv2.polylines(mask, corners, True, value, 1)
    cv2.fillPoly(mask, corners, value)
    return mask
