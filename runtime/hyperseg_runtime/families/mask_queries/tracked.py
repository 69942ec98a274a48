"""Objects of a class list in the frames of a video: instances of each frame, numbered by `heads.tracking`.

Ours: the release computes what this takes and makes nothing of it.
"""

from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import TRACK, Instances
from hyperseg_runtime.families.mask_queries.listed import ReadList
from hyperseg_runtime.heads.instances import find_instances
from hyperseg_runtime.heads.tracking import FrameObjects, Tracks
from hyperseg_runtime.images.preprocessing import ImageGeometry

MIN_SCORE = 0.3
"""Score from which an instance is an object to follow: what is less certain comes and goes with every frame."""


def follow(
    read: ReadList, geometry: ImageGeometry, request: Classes, task: str, tracks: Tracks, min_score: float
) -> tuple[Instances, Tracks]:
    """The objects of a frame, best first, their numbers in `instance_details`; and what is known of them then.

    An object is a mask query with its likeliest class; what is compared are the queries' embeddings.
    """
    with span("class_list"):
        found = find_instances(read.class_logits, read.mask_logits, geometry, request.things, min_score=min_score)
        best = {query: row for row, query in reversed([*enumerate(found.queries.tolist())])}
        rows = [row for row in sorted(best.values()) if found.scores[row] >= min_score and found.masks[row].any()]
    with span("tracking"):
        queries, masks = found.queries[rows], found.masks[rows]
        labels = tuple(request.names[index] for index in found.classes[rows])
        numbers, known = tracks.followed(FrameObjects(labels, read.embeddings[queries], masks))
    instances = Instances(
        asked=request.names,
        task=task,
        masks=masks,
        scores=found.scores[rows],
        labels=labels,
        instance_details=tuple(
            {"query": query, TRACK: number} for query, number in zip(queries.tolist(), numbers, strict=True)
        ),
        details=read.details,
    )
    return instances, known
