"""What is kept of one image between requests: its maps, what Mask DINO finds, and what was found for its last texts."""

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Self

import numpy as np

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.errors import ImageError
from hyperseg_runtime.families.hipie.canvas import canvas, canvas_geometry
from hyperseg_runtime.families.hipie.padding import valid_sizes
from hyperseg_runtime.families.hipie.spec import MAPS
from hyperseg_runtime.families.hipie.stages import Found, HipieStages, Tensors, TextStates
from hyperseg_runtime.images.preprocessing import ImageGeometry

TEXTS_KEPT = 2
"""What is found for a text is kept for so many, a few megabytes each: the tasks of a list share it, and parts need a
second list beside the first."""


class HipieImage:
    """Each part is computed when first needed. Maps and vectors depend on the image alone, so any text may use them."""

    def __init__(self, stages: HipieStages, image_hwc_u8: np.ndarray | None) -> None:
        self._stages = stages
        self._image = image_hwc_u8
        self._hw: tuple[int, int] | None = None if image_hwc_u8 is None else (len(image_hwc_u8), image_hwc_u8.shape[1])
        self._maps: Tensors | None = None
        self._vectors: Tensors | None = None
        self._found: OrderedDict[tuple[int, ...], Found] = OrderedDict()

    @classmethod
    def computed(cls, stages: HipieStages, outputs: Mapping[str, Buffer], image_hw: tuple[int, int]) -> Self:
        """An image of this size whose graphs were run elsewhere; `outputs` by name."""
        state = cls(stages, None)
        state._hw = image_hw
        state._maps = {name: outputs[name] for name in MAPS}
        state._vectors = {name: outputs[name] for name in ("vectors", "vector_masks")}
        return state

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        if self._hw is None:
            raise ValueError("this state was made without an image")
        return self._hw

    @property
    def geometry(self) -> ImageGeometry:
        return self._placed()[0]

    @property
    def size_bytes(self) -> int:
        """Memory that is held now."""
        pixels = 0 if self._image is None else self._image.nbytes
        return pixels + sum(math.prod(b.shape) * b.dtype.itemsize for b in self._held())

    def maps(self) -> Tensors:
        """The backbone's."""
        if self._maps is None:
            if self._image is None:
                raise ValueError("this state was made without an image")
            dims = self._stages.dims
            self._require_room()
            with span("preprocess"):
                pixels, _ = canvas(self._image, dims.size_multiple, dims.short_px, dims.long_px)
            self._maps = self._stages.see(pixels)
        return self._maps

    def vectors(self) -> Tensors:
        """What Mask DINO finds; of no use where one object is asked for."""
        if self._vectors is None:
            self._vectors = self._stages.vectors(self.maps())
        return self._vectors

    def look(self, text: TextStates) -> Found:
        """What is found for a text; equal ids are looked for once."""
        key = text.asked.ids
        if key not in self._found:
            geometry, canvas_hw = self._placed()
            self._found[key] = self._stages.look(self.maps(), valid_sizes(geometry.valid_hw, canvas_hw), text)
        self._found.move_to_end(key)
        while len(self._found) > TEXTS_KEPT:
            self._found.popitem(last=False)
        return self._found[key]

    def _require_room(self) -> None:
        """Raises ImageError for an image so narrow that it has fewer tokens than queries are picked from them."""
        (height, width), fewest = self._placed()[1], self._stages.dims.side_px().minimum
        if min(height, width) < fewest:
            raise ImageError(
                f"the image is too narrow: the model sees it as {width} x {height} px and needs {fewest} px on each "
                "side; cut it into shorter pieces"
            )

    def _placed(self) -> tuple[ImageGeometry, tuple[int, int]]:
        dims = self._stages.dims
        return canvas_geometry(*self.hw, dims.size_multiple, dims.short_px, dims.long_px)

    def _held(self) -> Iterator[Buffer]:
        for tensors in (self._maps, self._vectors, *(found.tensors for found in self._found.values())):
            yield from (tensors or {}).values()
