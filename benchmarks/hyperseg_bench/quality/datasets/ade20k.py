"""ADE20K's 150 classes (layout: README of github.com/CSAILVision/sceneparsing, ADEChallengeData2016).

images/validation/NAME.jpg, annotations/validation/NAME.png (0 for other things, which do not count, then the class from
1 on), and objectInfo150.txt: columns by name, of which Idx and Name are read.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hyperseg_bench.quality.asks.semantic import SemanticAsk
from hyperseg_bench.quality.datasets.files import by_number, first_of, image_file, not_hidden
from hyperseg_bench.quality.datasets.masks import read_map
from hyperseg_bench.quality.samples import Sample
from hyperseg_runtime.errors import InputError

LAYOUT = "images/validation/NAME.jpg, annotations/validation/NAME.png, objectInfo150.txt"


class Ade20k:
    """One split, every class asked for at once. Of the synonyms of a class the first is its name."""

    def __init__(self, folder: Path, split: str) -> None:
        self._images = first_of(folder, f"images/{split}")
        self._maps = first_of(folder, f"annotations/{split}")
        self._names = class_names(first_of(folder, "objectInfo150.txt"))

    @property
    def keys(self) -> Sequence[str]:
        return [path.stem for path in not_hidden(self._maps) if path.suffix == ".png"]

    def sample(self, key: str) -> Sample:
        path = self._maps / f"{key}.png"
        classes = read_map(path, ("L", "P")).astype(np.int32) - 1
        if classes.max() >= len(self._names):
            raise InputError(f"{path}: expected class numbers up to {len(self._names)}, one for each pixel")
        return Sample(key, (image_file(self._images, key),), (SemanticAsk("semantic", self._names, classes),))


def class_names(path: Path) -> tuple[str, ...]:
    """In the order of their numbers, unambiguous: two classes whose first synonym is the same keep all synonyms."""
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t"))
    if not rows or not {"Idx", "Name"} <= rows[0].keys():
        raise InputError(f"{path}: expected columns Idx and Name, separated by tabs")
    numbered = by_number(rows, "Idx", path)
    whole = [numbered[number]["Name"].strip() for number in sorted(numbered)]
    first = [name.split(",")[0].strip() for name in whole]
    return tuple(short if first.count(short) == 1 else name for short, name in zip(first, whole, strict=True))
