"""Made logits and embeddings of a clip -> instances with numbers."""

import numpy as np

from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import TRACK, Instances
from hyperseg_runtime.families.mask_queries.listed import ReadList
from hyperseg_runtime.families.mask_queries.tracked import MIN_SCORE, follow
from hyperseg_runtime.heads.tracking import Tracks
from hyperseg_runtime.images.preprocessing import ImageGeometry

HW, QUERIES = (16, 64), 5
GEOMETRY = ImageGeometry(HW, HW, HW)
REQUEST = Classes(("ball", "box"), things=(True, True))


def frame(things: list[tuple[int, int, int]], first_query: int) -> ReadList:
    """Things as class, look and left edge; they take queries one after another from `first_query`, the rest is none."""
    logits = np.tile(np.array([0, 0, 9], np.float32), (QUERIES, 1))
    masks = np.full((QUERIES, *HW), -8, np.float32)
    embeddings = 0.01 * np.random.default_rng(first_query).standard_normal((QUERIES, 12))
    for place, (kind, look, left) in enumerate(things):
        query = (first_query + place) % QUERIES
        logits[query] = np.eye(3)[kind] * 9
        masks[query, 4:12, left : left + 8] = 8
        embeddings[query] += 3 * np.eye(12)[look]
    return ReadList(logits, masks, embeddings, {"prompts": 1})


def clip(frames: list[ReadList]) -> list[Instances]:
    tracks, found = Tracks(), []
    for read in frames:
        instances, tracks = follow(read, GEOMETRY, REQUEST, "tracking", tracks, MIN_SCORE)
        found.append(instances)
    return found


def numbers(instances: Instances) -> dict[int, int]:
    """Left edge of each object -> its number."""
    lefts = [int(mask.any(0).argmax()) for mask in instances.masks]
    return dict(zip(lefts, (own[TRACK] for own in instances.instance_details), strict=True))


def test_objects_keep_numbers_through_a_crossing_whatever_query_finds_them() -> None:
    places = [(4 * t, 48 - 4 * t) for t in range(13)]
    found = clip([frame([(0, 2, a), (0, 7, b)], t) for t, (a, b) in enumerate(places)])
    first = numbers(found[0])
    assert set(first.values()) == {1, 2}
    for instances, (a, b) in zip(found, places, strict=True):
        if a != b:
            assert numbers(instances) == {a: first[0], b: first[48]}


def test_one_that_leaves_keeps_its_number_for_its_return() -> None:
    found = clip([frame([(0, 2, 8), (1, 7, 40)], 0), frame([(0, 2, 10)], 1), frame([(1, 7, 0), (0, 2, 12)], 3)])
    before, between, after = map(numbers, found)
    assert between == {10: before[8]} and after == {0: before[40], 12: before[8]}
    assert found[2].labels == tuple("box" if left == 0 else "ball" for left in after)


def test_what_is_not_certain_or_nowhere_is_no_object() -> None:
    read = frame([(0, 2, 8), (1, 7, 40), (0, 4, 24)], 0)
    read.class_logits[1] = 0, 0, 1  # 0.2 of each class
    read.mask_logits[2] = -8
    (instances,) = clip([read])
    assert numbers(instances) == {8: 1} and instances.task == "tracking" and instances.scores[0] > 0.9
    (none,) = clip([frame([], 0)])
    assert none.masks.shape == (0, *HW) and none.labels == ()
