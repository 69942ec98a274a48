"""HIPIE on a bundle: image and expressions or a class list in, masks and maps out."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.contracts.requests import Classes, Expressions, Request, SegmentationRequest
from hyperseg_runtime.contracts.results import Instances, PanopticMap, Result, SemanticMap
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.hipie.class_list import AskedList, SeenList, names_of
from hyperseg_runtime.families.hipie.hierarchy import part_list, parts_of
from hyperseg_runtime.families.hipie.instances import choose, instance_mask, probabilities, survivors
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
            case Expressions(texts=texts):
                for text in texts:
                    self._expression(text)
            case Classes():
                self._lists(request)

    def segment(self, image: HipieImage, request: SegmentationRequest) -> list[Result]:
        match request:
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
        """The one best query, or none where its box lies outside of the image: nothing decides whether it is there.

        Queries are compared with the mean of the words before they saw the image (hipie-spec 11).
        """
        states, geometry, options = self.read(asked), image.geometry, self.dims.options
        found = image.look(states)
        scores = probabilities(self.stages.word_logits(found, states.mean), found.iou_logits)
        best = choose(scores, found.boxes, survivors(scores, found.boxes, options), geometry, most=1)
        masks = np.zeros((0, *geometry.original_hw), np.bool_)
        if len(best.queries):
            (logits,) = self.stages.masks(found, best.queries, geometry.valid_hw)
            with span("mask"):
                masks = instance_mask(logits, geometry, options.mask_thres)[None]
        return Instances(
            asked=(text,),
            task=Task.REFERRING.value,
            masks=masks,
            scores=best.scores,
            labels=(text,) * len(masks),
            instance_details=best.details(),
            details=_about(states),
        )

    def _lists(self, request: Classes) -> list[AskedList]:
        """The list, and for parts the second one. Raises PromptError."""
        asked = [AskedList.of(request, self.tokenizer)]
        if request.task == Task.PARTS:
            asked.append(AskedList.of(part_list(request), self.tokenizer))
        for one in asked:
            self._readable(one.text)
        return asked

    def _listed(self, image: HipieImage, request: Classes) -> Result:
        asked, *more = self._lists(request)
        task = Task(str(request.task))
        text = self.read(asked.text)
        seen = SeenList(self.stages, image, asked, text)
        about: dict[str, Any] = {"asked": request.names, "task": task.value, "details": _about(text)}
        if task is Task.PANOPTIC:
            ids, segments = seen.panoptic()
            return PanopticMap(ids=ids, segments=segments, **about)
        if task is Task.SEMANTIC:
            return SemanticMap(classes=seen.semantic().argmax(0).astype(np.int32), **about)
        found, masks = seen.instances()
        objects = Instances(
            masks=masks,
            scores=found.scores,
            labels=names_of(found, request.names),
            instance_details=found.details(),
            **about,
        )
        return self._with_parts(image, request, objects, more[0]) if task is Task.PARTS else objects

    def _with_parts(self, image: HipieImage, request: Classes, objects: Instances, asked: AskedList) -> Instances:
        """The same objects, each with its parts in its details."""
        parts = SeenList(self.stages, image, asked, self.read(asked.text)).semantic()
        names = part_list(request).names
        of_each = parts_of(parts, names, objects.masks, objects.labels, objects.scores)
        details = zip(objects.instance_details, of_each, strict=True)
        return replace(objects, instance_details=tuple({**own, "parts": found} for own, found in details))


def _about(text: TextStates) -> dict[str, int]:
    return {"text_tokens": len(text.asked.ids), "text_pieces": text.pieces}
