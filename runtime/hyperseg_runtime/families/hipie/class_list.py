"""A class list as it is asked, and what an image holds of it (hipie-spec 13)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import Segment
from hyperseg_runtime.families.class_names import every_name, names_by_class
from hyperseg_runtime.families.hipie.class_logits import (
    class_logits,
    likeliest_names,
    map_probabilities,
    of_proposals,
    of_vectors,
)
from hyperseg_runtime.families.hipie.instances import Chosen, choose, instance_mask, probabilities, survivors
from hyperseg_runtime.families.hipie.maps import panoptic, semantic_scores
from hyperseg_runtime.families.hipie.options import HipieOptions
from hyperseg_runtime.families.hipie.stages import HipieStages, TextStates
from hyperseg_runtime.families.hipie.state import HipieImage
from hyperseg_runtime.families.hipie.words import AskedText, list_text
from hyperseg_runtime.llm.tokenizer import Tokenizer

AT_ONCE = 128
"""Masks that are drawn at a time where all queries' are needed."""


@dataclass(frozen=True)
class AskedList:
    """Names and their synonyms one after another, class by class.

    class_of  the class of each name
    things    for each class whether it can be counted
    """

    text: AskedText
    class_of: tuple[int, ...]
    things: tuple[bool, ...]

    @classmethod
    def of(cls, request: Classes, tokenizer: Tokenizer) -> "AskedList":
        """Raises PromptError for a list or a name that cannot be asked."""
        groups = names_by_class(request)
        class_of = tuple(index for index, group in enumerate(groups) for _ in group)
        things = request.things or (True,) * len(groups)
        return cls(list_text(every_name(request), tokenizer), class_of, things)


class SeenList:
    """What queries say of the classes of a list; everything is computed when first needed."""

    def __init__(self, stages: HipieStages, image: HipieImage, asked: AskedList, text: TextStates) -> None:
        self._stages = stages
        self._image = image
        self._asked = asked
        self._found = image.look(text)
        self._words = self._found.tensors["fused_text"]

    @property
    def _options(self) -> HipieOptions:
        return self._stages.dims.options

    def instances(self) -> tuple[Chosen, np.ndarray]:
        """Queries with their classes, best first, and the mask of each, (M, H, W) bool.

        The release fills its list up with classes that a query cannot be, at a score of 0; they are left out.
        """
        geometry = self._image.geometry
        found = choose(self._scores, self._found.boxes, self._kept, geometry, self._options.most)
        found = found.rows(found.scores > 0)
        queries, rows = np.unique(found.queries, return_inverse=True)
        with span("instances"):
            drawn = [
                instance_mask(logits, geometry, self._options.mask_thres) for logits in self._proposal_masks(queries)
            ]
            masks = np.array(drawn, np.bool_).reshape(len(drawn), *geometry.original_hw)
        return found, masks[rows]

    def semantic(self) -> np.ndarray:
        """Scores of each class at each pixel, (K, H, W) float32."""
        geometry = self._image.geometry
        total = np.zeros((len(self._asked.things), *geometry.original_hw), np.float32)
        every = np.arange(len(self._map_probabilities))
        for start in range(0, len(every), AT_ONCE):
            rows = every[start : start + AT_ONCE]
            masks = self._map_masks(rows)
            with span("semantic"):
                total += semantic_scores(self._map_probabilities[rows], masks, geometry)
        return total

    def panoptic(self) -> tuple[np.ndarray, tuple[Segment, ...]]:
        """Ids (H, W) int32, 0 for none, and what they mean."""
        certain = self._map_probabilities.max(1) > np.float32(self._options.object_mask_threshold)
        rows = np.flatnonzero(certain)
        masks = self._map_masks(rows)
        with span("panoptic"):
            return panoptic(
                self._map_probabilities[rows], masks, self._image.geometry, self._asked.things, self._options
            )

    @cached_property
    def _proposals(self) -> np.ndarray:
        """Class logits of the proposals, (Q, K)."""
        logits = self._per_class(self._stages.word_logits(self._found, self._words))
        return of_proposals(logits, self._asked.things, self._options)

    @cached_property
    def _scores(self) -> np.ndarray:
        return probabilities(self._proposals, self._found.iou_logits)

    @cached_property
    def _kept(self) -> np.ndarray:
        with span("suppression"):
            return survivors(self._scores, self._found.boxes, self._options)

    @cached_property
    def _map_probabilities(self) -> np.ndarray:
        """Of the queries that maps are merged from: proposals that were kept, if any, and Mask DINO's behind them."""
        logits = self._per_class(self._stages.vector_word_logits(self._image.vectors(), self._words))
        vectors = of_vectors(logits, self._asked.things, self._options)
        return map_probabilities(np.concatenate([self._proposals[self._merged], vectors]), self._options)

    @cached_property
    def _merged(self) -> np.ndarray:
        """Proposals that take part in maps, (M,) int64."""
        return self._kept[:0] if self._options.use_bg_for_pano else self._kept

    def _per_class(self, word_logits: np.ndarray) -> np.ndarray:
        """(Q, T) -> (Q, K)."""
        tokens = self._asked.text.tokens
        named = class_logits(word_logits[:, : tokens.shape[1]], tokens, self._options.max_pool)
        return likeliest_names(named, self._asked.class_of)

    def _map_masks(self, rows: np.ndarray) -> np.ndarray:
        """Mask logits (M, h, w) of these rows of the map's queries."""
        count = len(self._merged)
        drawn = list(self._proposal_masks(self._merged[rows[rows < count]]))
        of_vectors = self._stages.vector_masks(self._image.vectors())[rows[rows >= count] - count]
        return np.concatenate([np.array(drawn, np.float32).reshape(-1, *of_vectors.shape[1:]), of_vectors])

    def _proposal_masks(self, proposals: np.ndarray) -> Iterator[np.ndarray]:
        """Mask logits (h, w) of one proposal after another."""
        for start in range(0, len(proposals), AT_ONCE):
            part = proposals[start : start + AT_ONCE]
            yield from self._stages.masks(self._found, part, self._image.geometry.valid_hw)


def names_of(found: Chosen, names: Sequence[str]) -> tuple[str, ...]:
    """The class of each instance."""
    return tuple(names[index] for index in found.classes.tolist())
