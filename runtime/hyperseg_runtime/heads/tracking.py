"""Objects of successive frames -> numbers that stay with them: which is which, who left, who came back.

Ours: the paper names video instance segmentation and describes no association, the release holds heads for one and
calls none. Cost and order of steps follow what trackers of this kind have in common: overlap and likeness of the frame
before (SORT, arXiv 1602.00763, with DeepSORT's appearance, arXiv 1703.07402), the best assignment of all together.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

ENOUGH = 0.5
"""An object is that of the frame before if the mean of likeness and overlap is above this: neither alone is enough."""
MIN_ALIKE = 0.8
"""Likeness alone from which an object that was away, or jumped, is the same."""
MEMORY_FRAMES = 30
"""Frames for which an object that left is remembered: a second of most videos."""


@dataclass(frozen=True, eq=False)
class FrameObjects:
    """Objects of one frame.

    labels      M texts; objects of different labels are never the same
    embeddings  (M, D) float, of any length; what matters is the angle between them
    masks       (M, H, W) bool, of any size that the frame has
    """

    labels: tuple[str, ...]
    embeddings: np.ndarray
    masks: np.ndarray

    def __post_init__(self) -> None:
        if not len(self.labels) == len(self.embeddings) == len(self.masks):
            counts = f"{len(self.labels)} labels, {len(self.embeddings)} embeddings, {len(self.masks)} masks"
            raise ValueError(f"objects of a frame must have one of each, got {counts}")


@dataclass(frozen=True, eq=False)
class Track:
    """One object, as it was when it was last seen."""

    number: int
    label: str
    direction: np.ndarray  # (D,) of length 1
    mask_rle: dict[str, Any]  # COCO's run lengths; of 100 objects at full size masks would be 100 MB
    frames_away: int = 0


@dataclass(frozen=True, eq=False)
class Tracks:
    """What is known of a video's objects. Never changed: `followed` gives another one, so that a frame that fails
    leaves it as it was.
    """

    known: tuple[Track, ...] = ()
    given: int = 0  # numbers so far
    memory_frames: int = field(default=MEMORY_FRAMES, kw_only=True)

    def followed(self, objects: FrameObjects) -> tuple[tuple[int, ...], "Tracks"]:
        """The next frame: the number of each of its objects, from 1, and what is known then.

        Objects of the frame before are found first, by likeness and overlap; those that were away or jumped then, by
        likeness alone; what is left is new. Equal inputs give equal numbers.
        """
        seen = [
            Track(0, label, direction, rle)
            for label, direction, rle in zip(
                objects.labels, _directions(objects.embeddings), _encoded(objects.masks), strict=True
            )
        ]
        present = [track for track in self.known if not track.frames_away and _same_size(track, seen)]
        numbers = _assigned(seen, present, _continued(seen, present))
        left = [index for index in range(len(seen)) if index not in numbers]
        others = [seen[index] for index in left]
        missing = [track for track in self.known if track.number not in numbers.values()]
        alike = _assigned(others, missing, _alike(others, missing))
        numbers |= {left[index]: number for index, number in alike.items()}
        new = [index for index in left if index not in numbers]
        numbers |= {index: self.given + place for place, index in enumerate(new, 1)}
        found = tuple(numbers[index] for index in range(len(seen)))
        now = [replace(one, number=number) for one, number in zip(seen, found, strict=True)]
        away = [replace(t, frames_away=t.frames_away + 1) for t in self.known if t.number not in found]
        remembered = [track for track in away if track.frames_away <= self.memory_frames]
        return found, replace(self, known=(*now, *remembered), given=self.given + len(new))


def _assigned(seen: list[Track], known: list[Track], worth: np.ndarray) -> dict[int, int]:
    """Index of what is seen -> number of what is known, so that the sum of `worth` (seen, known) is the largest; a pair
    of worth 0 is none.
    """
    from scipy.optimize import linear_sum_assignment  # here: only videos of objects wait until it is loaded

    labels = np.array([[one.label == other.label for other in known] for one in seen], np.bool_)
    allowed = worth * labels.reshape(worth.shape)
    rows, columns = linear_sum_assignment(allowed, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {row: known[column].number for row, column in pairs if allowed[row, column] > 0}


def _continued(seen: list[Track], known: list[Track]) -> np.ndarray:
    """Mean of likeness and overlap where it is enough, else 0; (seen, known) float64."""
    mean = (_likeness(seen, known) + _overlap(seen, known)) / 2
    return np.where(mean > ENOUGH, mean, 0.0)


def _alike(seen: list[Track], known: list[Track]) -> np.ndarray:
    likeness = _likeness(seen, known)
    return np.where(likeness >= MIN_ALIKE, likeness, 0.0)


def _likeness(seen: list[Track], known: list[Track]) -> np.ndarray:
    """Cosine between the embeddings, none below 0; (seen, known) float64."""
    if not seen or not known:
        return np.zeros((len(seen), len(known)))
    one, other = (np.stack([track.direction for track in tracks]) for tracks in (seen, known))
    found: np.ndarray = np.maximum((one @ other.T).astype(np.float64), 0.0)
    return found


def _overlap(seen: list[Track], known: list[Track]) -> np.ndarray:
    """Intersection over union of the masks, (seen, known) float64; 0 of two without a pixel."""
    if not seen or not known:
        return np.zeros((len(seen), len(known)))
    masks = [[track.mask_rle for track in tracks] for tracks in (seen, known)]
    found: np.ndarray = coco_mask.iou(*masks, [0] * len(known))
    return found


def _same_size(track: Track, seen: list[Track]) -> bool:
    """Whether overlap means anything: a frame may have another size than the one before."""
    return bool(seen) and track.mask_rle["size"] == seen[0].mask_rle["size"]


def _directions(embeddings: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    found: np.ndarray = embeddings / np.maximum(lengths, np.finfo(np.float32).tiny)
    return found


def _encoded(masks: np.ndarray) -> list[dict[str, Any]]:
    encoded: list[dict[str, Any]] = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0), np.uint8))
    return encoded
