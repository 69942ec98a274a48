"""UniLSeg on a bundle: image and expressions in, one mask for each expression out."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.contracts.requests import Classes, Expressions, Request, SegmentationRequest
from hyperseg_runtime.contracts.results import Instances, Result
from hyperseg_runtime.errors import InputError, NumericsError, PromptError
from hyperseg_runtime.families.class_names import answered_one_by_one, every_name
from hyperseg_runtime.families.unilseg.spec import MAPS, PAD_TOKEN_ID, UnilsegDimensions
from hyperseg_runtime.families.unilseg.state import UnilsegImage
from hyperseg_runtime.families.unilseg.words import word_ids
from hyperseg_runtime.heads.binary import binary_mask
from hyperseg_runtime.images.letterbox import LetterboxGeometry
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE, Tokenizer, require_text

REFERRING, CLASS_LIST = "referring", "class list"
SENTENCES_KEPT = 256
"""Encoded sentences that are remembered, 36 kB each; they depend on no image."""


class UnilsegModel:
    """Segmenter (see `families.family`)."""

    def __init__(self, bundle: Bundle, graphs: Mapping[str, Graph], backend: Backend) -> None:
        self.dims = UnilsegDimensions.model_validate(bundle.manifest.dimensions)
        self.tokenizer = Tokenizer(bundle.path(TOKENIZER_FILE))
        self._graphs = graphs
        self._backend = backend
        self._sentences: OrderedDict[bytes, dict[str, Buffer]] = OrderedDict()
        for name in graphs:  # a broken graph shows early, and no call's time includes opening it
            _ = graphs[name]

    def open(self, image_hwc_u8: np.ndarray | None) -> UnilsegImage:
        return UnilsegImage(self._graphs, self._backend, self.dims, image_hwc_u8)

    def open_computed(self, outputs: Mapping[str, Buffer], image_hw: tuple[int, int]) -> UnilsegImage:
        maps = {name: outputs[name] for name in MAPS}
        return UnilsegImage(self._graphs, self._backend, self.dims, None, (maps, image_hw))

    def check(self, request: Request, with_image: bool) -> None:
        match request:
            case Expressions(texts=texts):
                self._all_ids(texts)
            case Classes():
                self._all_ids(every_name(request))

    def segment(self, image: UnilsegImage, request: SegmentationRequest) -> list[Result]:
        match request:
            case Expressions(texts=texts):
                return [*self._masks(image, texts)]
            case Classes():
                found = self._masks(image, every_name(request))
                return [answered_one_by_one(request, found, CLASS_LIST, image.hw)]
        raise InputError(f"UniLSeg segments no {request.kind}")

    def exercise(self, image_hwc_u8: np.ndarray) -> None:
        self.segment(self.open(image_hwc_u8), Expressions(("the object in the middle",), REFERRING))

    def close(self) -> None:
        self._sentences.clear()

    def ids(self, text: str) -> np.ndarray:
        """Token ids (1, words) int64 of an expression. Raises PromptError for text that cannot be used.

        The release also takes a text that holds no word; whoever sends one has forgotten something.
        """
        require_text(text)
        dims = self.dims
        ids = word_ids(self.tokenizer, text, dims.words, dims.start_token_id, dims.end_token_id)
        if ids[1] == dims.end_token_id:
            raise PromptError(f"{text!r} holds no word to look for; name something, for example 'the man on the left'")
        return ids[None]

    def sentence(self, ids: np.ndarray) -> dict[str, Buffer]:
        """What the mask decoder takes from a sentence; equal ids are encoded once."""
        key = ids.tobytes()
        if key not in self._sentences:
            with span("text"):
                encoded = self._graphs["text"].run({"token_ids": self._backend.upload(ids)})
            self._sentences[key] = {**encoded, "word_mask": self._backend.upload(ids != PAD_TOKEN_ID)}
        self._sentences.move_to_end(key)
        while len(self._sentences) > SENTENCES_KEPT:
            self._sentences.popitem(last=False)
        return self._sentences[key]

    def _all_ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Raises PromptError before any work."""
        return [self.ids(text) for text in texts]

    def _masks(self, image: UnilsegImage, texts: Sequence[str]) -> list[Instances]:
        ids = self._all_ids(texts)
        return [self._mask(image, text, own) for text, own in zip(texts, ids, strict=True)]

    def _mask(self, image: UnilsegImage, text: str, ids: np.ndarray) -> Instances:
        sentence = self.sentence(ids)
        maps, geometry = image.features()
        with span("mask_decoder"):
            outputs = self._graphs["mask_decoder"].run({**maps, **sentence})
            probabilities = outputs["probabilities"].to_host()[0]
        with span("mask"):
            return self._instance(probabilities, geometry, text)

    def _instance(self, probabilities: np.ndarray, geometry: LetterboxGeometry, text: str) -> Instances:
        """The score is ours, the release has none: the mean probability inside the mask, 0 without a pixel."""
        if not np.isfinite(probabilities).all():
            raise NumericsError()
        found = binary_mask(probabilities, geometry)
        inside = found.probabilities[found.mask]
        score = float(np.clip(inside, 0, 1).mean()) if inside.size else 0.0
        return Instances(
            asked=(text,),
            task=REFERRING,
            masks=found.mask[None],
            scores=np.array([score], np.float32),
            labels=(text,),
        )
