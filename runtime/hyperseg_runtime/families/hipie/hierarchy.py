"""Objects and their parts: a first text finds the objects, a second one a map of parts (hipie-spec 14)."""

from dataclasses import replace
from typing import Any

import numpy as np

from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import PARTS, Instances, encode_rle
from hyperseg_runtime.families.hipie.part_names import PART_NAMES, PartName
from hyperseg_runtime.families.hipie.part_query import PartQuery
from hyperseg_runtime.families.hipie.parts import PartMap, find_parts, is_asked, together

MIN_SCORE = 0.5
"""Objects of a list below have no parts."""


def asked_parts(request: Classes) -> tuple[PartName, ...]:
    """Objects and their parts as the request has them, or the release's."""
    return tuple((name, part) for name, parts in request.parts for part in parts) or PART_NAMES


def part_list(names: tuple[PartName, ...]) -> Classes:
    """The second list: no part can be counted, so that every query may be any of them."""
    return Classes(tuple(" ".join(pair).strip() for pair in names), things=(False,) * len(names))


def with_parts(objects: Instances, part_map: PartMap) -> Instances:
    """The same objects of a list, each with its parts in its details."""
    found: list[list[dict[str, Any]]] = [[] for _ in objects.labels]
    rows = np.flatnonzero(objects.scores > MIN_SCORE).tolist()
    with span("parts"):
        for part in find_parts(part_map, objects.masks[rows], [objects.labels[row] for row in rows]):
            found[rows[part.owner]].append({"name": part.name, **_drawn(part.mask)})
    details = zip(objects.instance_details, found, strict=True)
    return replace(objects, instance_details=tuple({**own, PARTS: parts} for own, parts in details))


def referred_part(referred: Instances, query: PartQuery, part_map: PartMap) -> Instances:
    """Of the object that was referred to the part that is asked: all that it may mean in one mask, which may be empty.

    The score stays that of the object, which stands in the details together with the names of the parts.
    """
    with span("parts"):
        parts = [part for part in find_parts(part_map, referred.masks) if is_asked(query.part, part.name)]
    masks = [
        together([part for part in parts if part.owner == row], mask.shape) for row, mask in enumerate(referred.masks)
    ]
    details = tuple(
        {**own, "object": _drawn(mask), "part_names": [part.name for part in parts if part.owner == row]}
        for row, (own, mask) in enumerate(zip(referred.instance_details, referred.masks, strict=True))
    )
    return replace(referred, masks=np.array(masks, np.bool_).reshape(referred.masks.shape), instance_details=details)


def _drawn(mask: np.ndarray) -> dict[str, Any]:
    return {"area_px": int(mask.sum()), "segmentation": encode_rle(mask)}
