"""PSALM on a bundle: image and request in, masks out."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.tables import HostTables
from hyperseg_runtime.contracts.requests import Classes, Expressions, Regions, Request, SegmentationRequest
from hyperseg_runtime.contracts.results import Result
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families.mask_queries.listed import ListPrompts, ListTask, list_prompts, segment_list
from hyperseg_runtime.families.mask_queries.masks import Asked, masks
from hyperseg_runtime.families.mask_queries.regions import segment_regions
from hyperseg_runtime.families.psalm.expressions import unions
from hyperseg_runtime.families.psalm.prompts import class_prompt, referring_prompt, region_prompt
from hyperseg_runtime.families.psalm.region_points import SeenRegions, points_of
from hyperseg_runtime.families.psalm.spec import PsalmDimensions
from hyperseg_runtime.families.psalm.stages import PsalmStages
from hyperseg_runtime.families.psalm.state import PsalmImage
from hyperseg_runtime.families.psalm.tasks import REGION, Task
from hyperseg_runtime.families.psalm.video import PsalmVideo
from hyperseg_runtime.images.regions import region_masks, region_names
from hyperseg_runtime.llm.prompt import Dependencies, Prompt
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE, Tokenizer


class PsalmModel:
    """Segmenter and VideoSegmenter (see `families.family`)."""

    def __init__(self, bundle: Bundle, graphs: Mapping[str, Graph], backend: Backend) -> None:
        self.dims = PsalmDimensions.model_validate(bundle.manifest.dimensions)
        self.tokenizer = Tokenizer(bundle.path(TOKENIZER_FILE))
        self.stages = PsalmStages(self.dims, graphs, HostTables(bundle, self.dims.tables()), backend)
        self.stages.open_graphs()

    def open(self, image_hwc_u8: np.ndarray | None) -> PsalmImage:
        return PsalmImage(self.stages, image_hwc_u8)

    def open_computed(self, outputs: Mapping[str, Buffer], image_hw: tuple[int, int]) -> PsalmImage:
        return PsalmImage.computed(self.stages, outputs, image_hw)

    def open_video(self) -> PsalmVideo:
        return PsalmVideo(self.stages, self._regions)

    def check(self, request: Request, with_image: bool) -> None:
        match request:
            case Classes():
                self._listed(request)
            case Expressions(texts=texts):
                for text in texts:
                    referring_prompt(text, self.tokenizer, self.dims)

    def segment(self, image: PsalmImage, request: SegmentationRequest) -> list[Result]:
        match request:
            case Classes(task=str(task)):
                return [segment_list(self.stages, image, ListTask(task), request, self._listed(request))]
            case Regions():
                seen = SeenRegions.of(image, region_masks(request, image.hw))
                keys = image.hold_regions(seen.rows(points_of(request.seed)))
                return [*segment_regions(self.stages, image, keys, region_names(request), REGION, self._regions)]
            case Expressions(task=Task.REFERRING):
                return [*masks(self.stages, image, self._read(image, request))]
            case Expressions():
                return [*unions(self.stages, image, self._read(image, request))]
        raise InputError(f"PSALM segments no {request.kind} in the task {request.task}")

    def exercise(self, image_hwc_u8: np.ndarray) -> None:
        """As a device does, which prepares the image and reads the masks itself."""
        prompt = referring_prompt("the object in the middle", self.tokenizer, self.dims)
        image = self.open(image_hwc_u8)
        (states,) = image.prefill([prompt])
        features, _ = image.features()
        outputs = self.stages.decode(features, states.hidden_states, [prompt])
        self.stages.prepare(image_hwc_u8)
        self.stages.read_masks(outputs, states.hidden_states, image.hw)

    def close(self) -> None:
        self.stages.close()

    def _listed(self, request: Classes) -> ListPrompts:
        return list_prompts(
            request, lambda names: class_prompt(names, self.tokenizer, self.dims), self.tokenizer, self.dims
        )

    def _regions(self, depends_on: Sequence[Dependencies]) -> Prompt:
        return region_prompt(depends_on, self.tokenizer, self.dims)

    def _read(self, image: PsalmImage, request: Expressions) -> Iterator[Asked]:
        """Each text as a prompt that was read, as many in one call of the language model as fit."""
        prompts = [referring_prompt(text, self.tokenizer, self.dims) for text in request.texts]
        for states, text in zip(image.prefill(prompts), request.texts, strict=True):
            yield Asked(states, (text,), str(request.task))
