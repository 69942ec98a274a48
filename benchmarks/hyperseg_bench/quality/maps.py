"""Any result for a class list as a map: families give instances, a semantic map or a panoptic map."""

import numpy as np

from hyperseg_runtime.contracts.results import Instances, PanopticMap, Result, Segment, SemanticMap

MIN_SCORE = 0.5
"""Of instances that become segments: whoever gives a mask for every class asked gives many of what is not there."""


def panoptic_map(result: Result, names: tuple[str, ...], things: tuple[bool, ...]) -> tuple[np.ndarray, list[Segment]]:
    """Ids (H, W) int32, 0 for none, and the segments that have a pixel.

    Instances: where they overlap the best score wins; those of one stuff class are one segment.
    """
    match result:
        case PanopticMap():
            return result.ids, [s for s in result.segments if (result.ids == s.id).any()]
        case SemanticMap():
            found = [index for index in np.unique(result.classes).tolist() if index >= 0]
            return result.classes + 1, [Segment(index + 1, index, things[index], 1.0) for index in found]
        case Instances():
            kept = result.at_least(MIN_SCORE)
            numbers = kept.label_map().astype(np.int32)
            ids = np.zeros_like(numbers)
            segments: dict[int, Segment] = {}
            for row, label in enumerate(kept.labels, 1):
                index = names.index(label)
                number = len(names) + row if things[index] else index + 1
                where = numbers == row
                if where.any():
                    ids[where] = number
                    segments.setdefault(number, Segment(number, index, things[index], float(kept.scores[row - 1])))
            return ids, list(segments.values())


def class_map(result: Result, names: tuple[str, ...]) -> np.ndarray:
    """Index of the class of every pixel, (H, W) int32, -1 for none; of instances the best score wins."""
    match result:
        case SemanticMap():
            return result.classes
        case PanopticMap():
            classes = np.full(result.ids.shape, -1, np.int32)
            for segment in result.segments:
                classes[result.ids == segment.id] = segment.class_index
            return classes
        case Instances():
            index_of = np.array([-1, *(names.index(label) for label in result.labels)], np.int32)
            return np.asarray(index_of[result.label_map()])
