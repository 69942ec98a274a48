"""A panoptic map whose objects give way to their parts (hipie-spec 14)."""

from dataclasses import replace

from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.contracts.results import PanopticMap, Segment
from hyperseg_runtime.families.hipie.parts import PartMap, find_parts

MIN_COVER = 0.8
"""An object gives way if at least this share of its pixels is of its parts."""


def in_parts(scene: PanopticMap, part_map: PartMap) -> PanopticMap:
    """The same map in which every object that its parts cover is replaced by them.

    Parts are further classes behind those asked, "dog head", with the score of their object; a part that stands for
    the whole object has the object's class. Pixels of such an object that are of no part are of nothing. `details` tell
    which segments are of one object.
    """
    ids = scene.ids.copy()
    asked = list(scene.asked)
    kept: list[Segment] = []
    made: list[list[Segment]] = []
    following = max((segment.id for segment in scene.segments), default=0)
    with span("parts"):
        for segment in scene.segments:
            label = scene.asked[segment.class_index]
            mask = scene.ids == segment.id
            parts = list(find_parts(part_map, mask[None], [label])) if segment.is_thing else []
            # Every pixel is of one part of the map, so areas add up.
            if not parts or sum(part.mask.sum() for part in parts) / mask.sum() < MIN_COVER:
                kept.append(segment)
                continue
            ids[mask] = 0
            made.append([])
            for part in parts:
                following += 1
                name = label if part.name == label else f"{label} {part.name}"
                if name not in asked:
                    asked.append(name)
                ids[part.mask] = following
                made[-1].append(replace(segment, id=following, class_index=asked.index(name)))
    return replace(
        scene,
        asked=tuple(asked),
        ids=ids,
        segments=(*kept, *(part for parts in made for part in parts)),
        details={**scene.details, "parts_of_objects": [[part.id for part in parts] for parts in made]},
    )
