"""Parts of objects: a map of parts, cut by the masks of the objects that they may belong to (hipie-spec 14)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SMALLEST_PX = 100
"""A part of no more pixels is none."""
WHOLE = "body"
"""Name of a part that stands for the object itself."""
HEAD = frozenset({"ear", "eye", "nose", "muzzle", "horn"})
SNOUT = frozenset({"nose", "muzzle"})


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


def find_parts(
    part_map: np.ndarray,
    part_names: Sequence[str],
    objects: np.ndarray,
    object_names: Sequence[str] | None = None,
) -> Iterator[Part]:
    """Every part of the map inside every object, by number of the part, then of the object.

    part_map (H, W), numbers of `part_names` ("dog head"); other numbers are background. objects (M, H, W) bool. With
    names of the objects, a part belongs to objects of its first word only.
    """
    for number in np.unique(part_map).tolist():
        words = part_names[number].split(" ", 1) if 0 <= number < len(part_names) else []
        if len(words) != 2:
            continue
        owner_name, name = words
        here = part_map == number
        for owner, mask in enumerate(objects):
            mine = here & mask
            if object_names is not None and object_names[owner] != owner_name:
                continue
            if mine.sum() > SMALLEST_PX:
                yield Part(owner, owner_name if name == WHOLE else name, mine)


def is_asked(asked: str, name: str) -> bool:
    """Whether a part of this name is what a part's query means."""
    if asked in name:
        return True
    return (asked == "head" and name in HEAD) or {asked, name} <= SNOUT


def asked_part(parts: Sequence[Part], asked: str, image_hw: tuple[int, int]) -> np.ndarray:
    """All parts that a query means, (H, W) bool. Without one the release fails; here the mask is empty."""
    mask = np.zeros(image_hw, np.bool_)
    for part in parts:
        if is_asked(asked, part.name):
            mask |= part.mask
    return mask


def merged_map(part_map: np.ndarray, group: Mapping[int, int], groups: int) -> np.ndarray:
    """Numbers of parts -> numbers of the coarser names; `group` maps them, both counted from 1.

    What has no group becomes `groups`, which is background there.
    """
    table = np.full(max(int(part_map.max()), max(group)) + 1, groups, part_map.dtype)
    for part, coarse in group.items():
        table[part - 1] = coarse - 1
    found: np.ndarray = table[part_map]
    return found
