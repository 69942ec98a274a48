"""Objects of a video: what they were in a frame before is what the next one is asked for (psalm-spec 8)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.contracts.requests import Regions
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import InputError, NumericsError
from hyperseg_runtime.families.family import FrameResults
from hyperseg_runtime.families.mask_queries import merged
from hyperseg_runtime.families.mask_queries.graph_specs import CONDITIONS
from hyperseg_runtime.families.mask_queries.state import PromptStates
from hyperseg_runtime.families.psalm.region_points import Draw, Seed, SeenRegions, points_of
from hyperseg_runtime.families.psalm.stages import PsalmStages
from hyperseg_runtime.families.psalm.state import PsalmImage
from hyperseg_runtime.heads.referring import BestMask, best_query
from hyperseg_runtime.images.preprocessing import ImageGeometry
from hyperseg_runtime.images.regions import region_masks, region_names
from hyperseg_runtime.llm.prompt import Dependencies, Prompt

SAME_OBJECT_IOU = 0.4
"""Two objects of a frame whose masks overlap more are taken for one: such a frame is not remembered."""


@dataclass(frozen=True)
class Followed:
    """Objects by name, and where they were in a frame.

    seed   of the request that gave them
    since  number of the frame that they were given with
    """

    names: tuple[str, ...]
    seen: SeenRegions
    seed: int | None
    since: int

    def seed_of(self, frame: int) -> Seed | None:
        """Each frame draws points of its own, and the same ones where it failed and is pushed again."""
        return None if self.seed is None else (self.seed, frame - self.since)


@dataclass(frozen=True)
class _Found:
    best: BestMask
    logits: np.ndarray  # (h, w) float32 of its mask, at the network's resolution


class PsalmVideo:
    """Causal: every frame's results are ready when it was pushed.

    Regions are given with a frame, usually the first, and followed through those that are pushed with none. Remembered
    are the image tokens of one frame (2 MB for the published model) and its masks.
    """

    def __init__(
        self,
        stages: PsalmStages,
        prompt_of: Callable[[Sequence[Dependencies]], Prompt],
        draw_of: Callable[[Seed | None], Draw] = points_of,
    ) -> None:
        """`prompt_of` regions, by what their rows depend on; `draw_of` the seed of a frame."""
        self._stages = stages
        self._prompt_of = prompt_of
        self._draw_of = draw_of
        self._given: Followed | None = None
        self._memory: Followed | None = None
        self._frames = 0

    def push(self, frame_hwc_u8: np.ndarray, request: Regions) -> list[FrameResults]:
        frame = PsalmImage(self._stages, frame_hwc_u8)
        names = region_names(request)
        most = min(CONDITIONS.maximum, self._stages.dims.mask_queries)
        if len(names) > most:
            raise InputError(f"{len(names)} objects are to be followed, at most {most} can be")
        given, memory = self._given, self._memory
        if names:
            masks = region_masks(request, frame.hw)
            given, memory = Followed(names, SeenRegions.of(frame, masks), request.seed, self._frames), None
        if given is None:
            raise InputError(
                "a video of objects begins with regions: give points, boxes, scribbles or masks of its first frame"
            )
        found, states = self._found(frame, memory or given)
        results = _results(str(request.task), given.names, found, states, frame.features()[1])
        if not names:
            memory = self._remembered(frame, given, [one.best.mask for one in found], memory)
        self._given, self._memory, self._frames = given, memory, self._frames + 1
        return [FrameResults(self._frames - 1, tuple(results))]

    def finish(self) -> list[FrameResults]:
        return []

    def _found(self, frame: PsalmImage, followed: Followed) -> tuple[list[_Found], PromptStates]:
        """A mask for each object: in their order, each the best query that none before it took."""
        stages = self._stages
        draw = self._draw_of(followed.seed_of(self._frames))
        prompt = self._prompt_of(frame.hold_regions(followed.seen.rows(draw)))
        (states,) = frame.prefill([prompt])
        features, geometry = frame.features()
        outputs = stages.decode(features, states.hidden_states, [prompt], states.first_row)
        with frame.trusted():
            wanted = (states.hidden_states, outputs.mask_logits, outputs.region_logits)
            hidden, mask_logits, region_logits = (array[0] for array in stages.to_host(wanted))
            if not all(np.isfinite(values).all() for values in (hidden[states.own_rows], mask_logits, region_logits)):
                raise NumericsError()
        free = list(range(len(mask_logits)))
        found: list[_Found] = []
        with span("best_mask"):
            for logits in region_logits.T:
                best = best_query(mask_logits[free], logits[free], geometry)
                query = free.pop(best.query)
                found.append(_Found(replace(best, query=query), mask_logits[query]))
        return found, states

    def _remembered(
        self, frame: PsalmImage, given: Followed, masks: list[np.ndarray], memory: Followed | None
    ) -> Followed | None:
        """What the next frame is asked for; None for what was given at first. `masks` (H, W) bool, as the model gives
        them: how they are merged changes no memory.
        """
        if any(_iou(one, other) > SAME_OBJECT_IOU for one, other in combinations(masks, 2)):
            return memory
        if not all(mask.any() for mask in masks):  # not all objects are there: the memory does not serve
            return None
        return replace(given, seen=SeenRegions.of(frame, masks))


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _results(
    task: str, names: Sequence[str], found: Sequence[_Found], states: PromptStates, geometry: ImageGeometry
) -> list[Instances]:
    plain = [_instances(name, task, one.best, states) for name, one in zip(names, found, strict=True)]
    match task:
        case merged.VIDEO_OBJECTS:
            return merged.by_probability(plain, [one.logits for one in found], geometry)
        case merged.VIDEO_PAINTED:
            return merged.in_order(plain)
    return plain


def _instances(name: str, task: str, found: BestMask, states: PromptStates) -> Instances:
    return Instances(
        asked=(name,),
        task=task,
        masks=found.mask[None],
        scores=np.array([found.score], np.float32),
        labels=(name,),
        instance_details=({"query": found.query},),
        details={
            "queries_evaluated": found.evaluated,
            "prompt_tokens": states.prompt.length,
            "reused_tokens": states.reused,
        },
    )
