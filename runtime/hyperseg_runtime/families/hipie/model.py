"""HIPIE on a bundle: image and expressions or a class list in, masks and maps out."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.requests import Classes, Expressions, Request, SegmentationRequest
from hyperseg_runtime.contracts.results import Instances, PanopticMap, Result, SemanticMap
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.hipie.class_list import AskedList, SeenList, names_of
from hyperseg_runtime.families.hipie.expression import refer
from hyperseg_runtime.families.hipie.hierarchy import asked_parts, part_list, referred_part, with_parts
from hyperseg_runtime.families.hipie.panoptic_parts import in_parts
from hyperseg_runtime.families.hipie.part_names import COARSER, PART_NAMES, PartName
from hyperseg_runtime.families.hipie.part_query import PartQuery
from hyperseg_runtime.families.hipie.parts import PartMap
from hyperseg_runtime.families.hipie.spec import HipieDimensions
from hyperseg_runtime.families.hipie.stages import HipieStages, TextStates
from hyperseg_runtime.families.hipie.state import HipieImage
from hyperseg_runtime.families.hipie.tasks import Task
from hyperseg_runtime.families.hipie.words import AskedText, expression_text
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE, Tokenizer

TEXTS_KEPT = 32
"""Texts that are remembered, 3 kB for every token; they depend on no image."""


class HipieModel:
    """Segmenter (see `families.family`)."""

    def __init__(self, bundle: Bundle, graphs: Mapping[str, Graph], backend: Backend) -> None:
        self.dims = HipieDimensions.model_validate(bundle.manifest.dimensions)
        self.tokenizer = Tokenizer(bundle.path(TOKENIZER_FILE))
        self.stages = HipieStages(self.dims, graphs, backend)
        self.stages.open_graphs()
        self._texts: OrderedDict[tuple[int, ...], TextStates] = OrderedDict()

    def open(self, image_hwc_u8: np.ndarray | None) -> HipieImage:
        return HipieImage(self.stages, image_hwc_u8)

    def open_computed(self, outputs: Mapping[str, Buffer], image_hw: tuple[int, int]) -> HipieImage:
        return HipieImage.computed(self.stages, outputs, image_hw)

    def check(self, request: Request, with_image: bool) -> None:
        match request:
            case Expressions(texts=texts, task=task):
                for text in texts:
                    self._expression(self._part_query(text).expression if task == Task.REFERRING_PARTS else text)
            case Classes():
                self._lists(request)

    def segment(self, image: HipieImage, request: SegmentationRequest) -> list[Result]:
        match request:
            case Expressions(texts=texts, task=Task.REFERRING_PARTS):
                return list(self._refer_to_parts(image, texts))
            case Expressions(texts=texts):
                asked = [self._expression(text) for text in texts]
                return [self._refer(image, text, own) for text, own in zip(texts, asked, strict=True)]
            case Classes():
                return [self._listed(image, request)]
        raise InputError(f"HIPIE segments no {request.kind}")

    def exercise(self, image_hwc_u8: np.ndarray) -> None:
        """As an expression and as a list, for which a map of one query is enough."""
        image = self.open(image_hwc_u8)
        text = self.read(self._expression("the object in the middle"))
        found = image.look(text)
        self.stages.word_logits(found, found.tensors["fused_text"])
        self.stages.vector_word_logits(image.vectors(), found.tensors["fused_text"])
        self.stages.masks(found, np.arange(1), image.geometry.valid_hw)

    def close(self) -> None:
        self._texts.clear()

    def read(self, asked: AskedText) -> TextStates:
        """The states of a text; equal ids are read once."""
        key = asked.ids
        text = self._texts.pop(key, None) or self.stages.read(asked)
        self._texts[key] = text
        while len(self._texts) > TEXTS_KEPT:
            self._texts.popitem(last=False)
        return text

    def _expression(self, text: str) -> AskedText:
        return self._readable(expression_text(text, self.tokenizer))

    def _readable(self, asked: AskedText) -> AskedText:
        """Raises PromptError where it cannot be cut into pieces that the text encoder takes."""
        asked.pieces(self.dims.piece_words)
        return asked

    def _refer(self, image: HipieImage, text: str, asked: AskedText) -> Instances:
        states = self.read(asked)
        best, masks = refer(self.stages, image, states)
        return Instances(
            asked=(text,),
            task=Task.REFERRING.value,
            masks=masks,
            scores=best.scores,
            labels=(text,) * len(masks),
            instance_details=best.details(),
            details=_about(states),
        )

    def _refer_to_parts(self, image: HipieImage, texts: Sequence[str]) -> Iterator[Instances]:
        """One map of parts serves all texts."""
        queries = [self._part_query(text) for text in texts]
        asked = [self._expression(query.expression) for query in queries]
        part_map = self._part_map(image, PART_NAMES)
        for text, query, own in zip(texts, queries, asked, strict=True):
            found = referred_part(self._refer(image, query.expression, own), query, part_map)
            yield replace(found.asked_as(text), task=Task.REFERRING_PARTS.value, labels=(text,) * len(found.labels))

    def _part_query(self, text: str) -> PartQuery:
        """Raises PromptError."""
        return PartQuery.of(text, tuple(COARSER) if self.dims.options.use_coarse else PART_NAMES)

    def _part_map(self, image: HipieImage, names: tuple[PartName, ...]) -> PartMap:
        asked = AskedList.of(part_list(names), self.tokenizer)
        scores = SeenList(self.stages, image, asked, self.read(asked.text)).semantic()
        found = PartMap.likeliest(scores, names)
        return found.coarser() if self.dims.options.use_coarse and names is PART_NAMES else found

    def _listed(self, image: HipieImage, request: Classes) -> Result:
        task, asked = Task(str(request.task)), self._lists(request)[0]
        text = self.read(asked.text)
        seen = SeenList(self.stages, image, asked, text)
        about: dict[str, Any] = {"asked": request.names, "task": task.value, "details": _about(text)}
        match task:
            case Task.PANOPTIC | Task.PANOPTIC_PARTS:
                ids, segments = seen.panoptic()
                scene = PanopticMap(ids=ids, segments=segments, **about)
                return in_parts(scene, self._part_map(image, asked_parts(request))) if task.has_parts else scene
            case Task.SEMANTIC:
                return SemanticMap(classes=seen.semantic().argmax(0).astype(np.int32), **about)
        found, masks = seen.instances()
        objects = Instances(
            masks=masks,
            scores=found.scores,
            labels=names_of(found, request.names),
            instance_details=found.details(),
            **about,
        )
        return with_parts(objects, self._part_map(image, asked_parts(request))) if task.has_parts else objects

    def _lists(self, request: Classes) -> list[AskedList]:
        """The list, and for parts the second one. Raises PromptError."""
        asked = [AskedList.of(request, self.tokenizer)]
        if Task(str(request.task)).has_parts:
            asked.append(AskedList.of(part_list(asked_parts(request)), self.tokenizer))
        for one in asked:
            self._readable(one.text)
        return asked


def _about(text: TextStates) -> dict[str, int]:
    return {"text_tokens": len(text.asked.ids), "text_pieces": text.pieces}
