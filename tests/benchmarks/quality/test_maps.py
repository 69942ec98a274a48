"""Instances, semantic and panoptic results as maps."""

import numpy as np

from hyperseg_bench.quality.maps import class_map, panoptic_map
from hyperseg_runtime.contracts.results import Instances, PanopticMap, Segment, SemanticMap

NAMES, THINGS = ("cat", "grass", "dog"), (True, False, True)


def row(text: str) -> np.ndarray:
    return np.array([[character == "x" for character in text]])


def test_instances_become_segments_by_score_and_stuff_is_one() -> None:
    masks = [row("xxx....."), row("..xx...."), row("....xx.."), row("......x."), row(".......x")]
    result = Instances(
        asked=NAMES, task="any", masks=np.stack(masks), scores=np.array([0.9, 0.8, 0.7, 0.6, 0.2], np.float32),
        labels=("cat", "cat", "grass", "grass", "dog"),
    )  # fmt: skip
    ids, segments = panoptic_map(result, NAMES, THINGS)
    assert len(segments) == 3 and [segment.class_index for segment in segments] == [0, 0, 1]
    cat, other, grass = (segment.id for segment in segments)
    np.testing.assert_array_equal(ids[0], [cat, cat, cat, other, grass, grass, grass, 0])  # the dog is not sure enough
    np.testing.assert_array_equal(class_map(result, NAMES)[0], [0, 0, 0, 0, 1, 1, 1, 2])


def test_maps_keep_what_they_say() -> None:
    classes = np.array([[0, 2, -1]], np.int32)
    semantic = SemanticMap(asked=NAMES, task="any", classes=classes)
    assert class_map(semantic, NAMES) is classes
    ids, segments = panoptic_map(semantic, NAMES, THINGS)
    np.testing.assert_array_equal(ids, [[1, 3, 0]])
    assert [(segment.id, segment.class_index) for segment in segments] == [(1, 0), (3, 2)]
    both = (Segment(7, 2, True, 1.0), Segment(9, 0, True, 1.0))
    panoptic = PanopticMap(asked=NAMES, task="any", ids=np.array([[7, 7, 0]], np.int32), segments=both)
    assert panoptic_map(panoptic, NAMES, THINGS)[1] == [both[0]]  # the other has no pixel
    np.testing.assert_array_equal(class_map(panoptic, NAMES), [[2, 2, -1]])
