"""What is kept of one image between requests: Swin's maps. Everything after them depends on the sentence."""

import math
from collections.abc import Mapping

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.families.unilseg.spec import MAPS, UnilsegDimensions
from hyperseg_runtime.images.letterbox import LetterboxGeometry, letterbox_square


class UnilsegImage:
    """The maps are computed when first needed, or were `computed` elsewhere, of an image of the given size."""

    def __init__(
        self,
        graphs: Mapping[str, Graph],
        backend: Backend,
        dims: UnilsegDimensions,
        image_hwc_u8: np.ndarray | None,
        computed: tuple[Mapping[str, Buffer], tuple[int, int]] | None = None,
    ) -> None:
        self._graphs = graphs
        self._backend = backend
        self._dims = dims
        self._image = image_hwc_u8
        self._features: tuple[Mapping[str, Buffer], LetterboxGeometry] | None = None
        if computed:
            maps, image_hw = computed
            self._features = maps, LetterboxGeometry(image_hw, dims.image_px)

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        if self._features:
            return self._features[1].original_hw
        height, width = self._given().shape[:2]
        return height, width

    @property
    def size_bytes(self) -> int:
        """Memory that is held now."""
        maps = self._features[0].values() if self._features else ()
        pixels = 0 if self._image is None else self._image.nbytes
        return pixels + sum(math.prod(buffer.shape) * buffer.dtype.itemsize for buffer in maps)

    def features(self) -> tuple[Mapping[str, Buffer], LetterboxGeometry]:
        """Swin's maps by name, and the way back to the image's size."""
        if self._features is None:
            with span("preprocess"):
                pixels, geometry = letterbox_square(self._given(), self._dims.image_px)
            with span("image_encoder"):
                outputs = self._graphs["image_encoder"].run({"images": self._backend.upload(pixels[None])})
            self._features = {name: outputs[name] for name in MAPS}, geometry
        return self._features

    def _given(self) -> np.ndarray:
        if self._image is None:
            raise ValueError("this state was made without an image")
        return self._image
