"""Parts of objects: a map of parts, cut by the masks of the objects that they may belong to (hipie-spec 14)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.families.hipie.part_names import COARSER, PART_NAMES, PartName

SMALLEST_PX = 100
"""A part of no more pixels is none."""
WHOLE = "body"
"""Name of a part that stands for the object itself."""
HEAD = frozenset({"ear", "eye", "nose", "muzzle", "horn"})
SNOUT = frozenset({"nose", "muzzle"})


@dataclass(frozen=True)
class PartMap:
    """Which part each pixel is of.

    numbers  (H, W) integers, place in `names`; others are background
    names    objects and their parts
    """

    numbers: np.ndarray
    names: tuple[PartName, ...]

    @classmethod
    def likeliest(cls, scores: np.ndarray, names: tuple[PartName, ...]) -> "PartMap":
        """scores (P, H, W) float32 of the parts `names`."""
        return cls(scores.argmax(0), names)

    def coarser(self) -> "PartMap":
        """The map of the release's names in its coarser ones."""
        numbers = {name: number for number, names in enumerate(COARSER.values()) for name in names}
        table = np.array([*(numbers.get(name, len(COARSER)) for name in PART_NAMES), len(COARSER)])
        return PartMap(table[np.minimum(self.numbers, len(PART_NAMES))], tuple(COARSER))


@dataclass(frozen=True)
class Part:
    """A part of one of the objects given.

    owner  number of the object
    name   without the object's
    mask   (H, W) bool
    """

    owner: int
    name: str
    mask: np.ndarray


def find_parts(part_map: PartMap, objects: np.ndarray, object_names: Sequence[str] | None = None) -> Iterator[Part]:
    """Every part of the map inside every object, by number of the part, then of the object.

    objects (M, H, W) bool. With names of the objects, a part belongs to objects of its own object's name only.
    """
    for number in np.unique(part_map.numbers).tolist():
        owner_name, part = part_map.names[number] if 0 <= number < len(part_map.names) else ("", "")
        if not part:
            continue
        here = part_map.numbers == number
        for owner, mask in enumerate(objects):
            if object_names is not None and object_names[owner] != owner_name:
                continue
            mine = here & mask
            if mine.sum() > SMALLEST_PX:
                yield Part(owner, shown_name(owner_name, part), mine)


def shown_name(owner_name: str, part: str) -> str:
    """What a part is called where its object is known."""
    return owner_name if part == WHOLE else part


def is_asked(asked: str, name: str) -> bool:
    """Whether a part of this name is what a part's query means."""
    if asked in name:
        return True
    return (asked == "head" and name in HEAD) or {asked, name} <= SNOUT


def together(parts: Sequence[Part], image_hw: tuple[int, int]) -> np.ndarray:
    """All of them as one mask, (H, W) bool; without one the mask is empty, where the release fails."""
    mask = np.zeros(image_hw, np.bool_)
    for part in parts:
        mask |= part.mask
    return mask
