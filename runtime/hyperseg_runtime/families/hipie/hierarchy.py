"""Objects and their parts: a first list finds the objects, a second one a map of parts (hipie-spec 14)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import encode_rle
from hyperseg_runtime.families.hipie.part_names import PART_NAMES
from hyperseg_runtime.families.hipie.parts import find_parts

MIN_SCORE = 0.5
"""Objects below have no parts."""


def part_names(request: Classes) -> tuple[str, ...]:
    """Those of the request, "dog head", or the release's."""
    asked = tuple(f"{name} {part}" for name, parts in request.parts for part in parts)
    return asked or PART_NAMES


def part_list(request: Classes) -> Classes:
    """The second list: no part can be counted, so that every query may be any of them."""
    names = part_names(request)
    return Classes(names, things=(False,) * len(names))


def parts_of(
    part_scores: np.ndarray, names: Sequence[str], masks: np.ndarray, labels: Sequence[str], scores: np.ndarray
) -> list[list[dict[str, Any]]]:
    """For each object its parts, ready for JSON.

    part_scores (P, H, W) float32 of the parts `names`; masks (M, H, W) bool, labels and scores (M,) of the objects.
    """
    found: list[list[dict[str, Any]]] = [[] for _ in labels]
    rows = np.flatnonzero(scores > MIN_SCORE).tolist()
    with span("parts"):
        for part in find_parts(part_scores.argmax(0), names, masks[rows], [labels[row] for row in rows]):
            found[rows[part.owner]].append(
                {"name": part.name, "area_px": int(part.mask.sum()), "segmentation": encode_rle(part.mask)}
            )
    return found
