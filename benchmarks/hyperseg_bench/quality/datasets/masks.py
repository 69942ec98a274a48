"""Masks and maps of annotation files as arrays, checked before pycocotools or Pillow see them.

pycocotools trusts what it is given: a string of run lengths without an end is read beyond its memory, a polygon's
corners decide how much is allocated (rleFrString and rleFrPoly in maskApi.c).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from hyperseg_runtime.errors import InputError
from hyperseg_runtime.images.reading import MAX_PIXELS, read_header

FIRST, GOES_ON, MOST_CHARACTERS = 48, 32, 6
"""Of a run length as text: 6-bit groups from this character on, the bit for "more follow", groups of one number."""


def annotation_mask(annotation: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    """A COCO annotation (polygons, or run lengths of either kind) as (H, W) bool. Raises InputError for one that does
    not fit a picture of this size.
    """
    rle = checked_segmentation(annotation["segmentation"], height, width)
    if rle is None:
        return np.zeros((height, width), np.bool_)
    mask: np.ndarray = coco_mask.decode(rle)
    return mask.astype(np.bool_)


def checked_segmentation(found: Any, height: int, width: int) -> dict[str, Any] | None:
    """Compressed run lengths of a segmentation; None for an empty one."""
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise InputError(f"a picture of {width} x {height} px; expected 1 to {MAX_PIXELS} pixels")
    if isinstance(found, list):
        polygons = [_polygon(corners, height, width) for corners in found]
        return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)) if polygons else None
    if not isinstance(found, dict) or [*found.get("size", ())] != [height, width]:
        raise InputError(f"expected polygons, or run lengths of size [{height}, {width}]")
    counts = found["counts"]
    if isinstance(counts, list):
        if not all(type(run) is int and run >= 0 for run in counts) or sum(counts) != height * width:
            raise InputError(f"run lengths do not add up to the {height * width} pixels of the picture")
        return dict(coco_mask.frPyObjects(found, height, width))
    return {"size": [height, width], "counts": _text(counts)}


def _polygon(corners: Any, height: int, width: int) -> list[float]:
    array = np.array(corners, np.float64)
    if array.ndim != 1 or array.size < 6 or array.size % 2:
        raise InputError(f"expected a polygon of at least three corners x, y, found {array.size} numbers")
    require_near(array, height, width)
    return [float(number) for number in array]


def require_near(corners: np.ndarray, height: int, width: int) -> None:
    """Corners a little outside of the picture are common; far away they are none of it. Raises InputError."""
    side = max(height, width)
    if not np.isfinite(corners).all() or corners.min() < -side or corners.max() > 2 * side:
        raise InputError("a corner of a polygon is no number, or far outside of the picture")


def _text(counts: Any) -> bytes:
    if not isinstance(counts, str | bytes) or not counts:
        raise InputError(f"expected run lengths, found {type(counts).__name__}")
    data = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    groups = np.frombuffer(data, np.uint8).astype(np.int32) - FIRST
    if groups.min() < 0 or groups.max() > 63 or groups[-1] & GOES_ON:
        raise InputError("expected run lengths as COCO writes them in text")
    if np.diff(np.flatnonzero(groups & GOES_ON == 0), prepend=-1).max() > MOST_CHARACTERS:
        raise InputError("a run length has more digits than any picture needs")
    return data


def read_map(path: Path, channels: Sequence[str]) -> np.ndarray:
    """Numbers (H, W) or (H, W, C) of a PNG whose pixels are in one of Pillow's modes `channels`. Raises InputError."""
    try:
        with path.open("rb") as file, read_header(file, ("PNG",)) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise InputError(f"{path}: {width} x {height} px; at most {MAX_PIXELS} pixels are read")
            if image.mode not in channels:
                raise InputError(f"{path}: its pixels are in mode {image.mode}, expected {' or '.join(channels)}")
            return np.array(image)
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        raise InputError(f"{path}: cannot be read as a PNG of numbers ({error})") from error
