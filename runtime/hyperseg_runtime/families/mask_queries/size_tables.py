"""What graphs have to be told of an image's size, kept where the backend lives for the sizes seen last."""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

import numpy as np

from hyperseg_kernels.mask_readout.axis import axis
from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.families.mask_queries.dimensions import MaskQueryDimensions
from hyperseg_runtime.images.preprocessing import square_geometry
from hyperseg_runtime.images.resize_tables import table_arrays

SIZES = 16
"""Kept of each kind: 0.1 to 0.3 MB for a photograph of HyperSeg-3B. A video or a camera has one."""

Hw = tuple[int, int]
Tables = Mapping[str, Buffer]


class SizeTables:
    """Tables by the names of a graph's inputs."""

    def __init__(self, dims: MaskQueryDimensions, upload: Callable[[np.ndarray], Buffer]) -> None:
        self._dims = dims
        kept = lru_cache(SIZES)
        self.of_preprocess = kept(lambda hw: {name: upload(array) for name, array in self._resizes(hw)})
        """From an image's pixels to the encoders' images."""
        self.of_mask_readout = kept(lambda hw: {name: upload(array) for name, array in self._way_back(hw)})
        """From mask logits to an image's pixels."""

    def clear(self) -> None:
        self.of_preprocess.cache_clear()
        self.of_mask_readout.cache_clear()

    def _resizes(self, hw: Hw) -> Iterator[tuple[str, np.ndarray]]:
        for image in self._dims.encoder_images:
            yield from table_arrays(image.name, hw, image.resized_hw(hw), image.filter)

    def _way_back(self, hw: Hw) -> Iterator[tuple[str, np.ndarray]]:
        geometry = square_geometry(*hw, self._dims.image_px)
        sizes = zip(self._dims.map_shapes[0], geometry.padded_hw, geometry.valid_hw, hw, strict=True)
        for name, size in zip(("row", "column"), sizes, strict=True):
            made = axis(*size)
            yield f"{name}_index", made.index.astype(np.int64)
            yield f"{name}_weight", made.weight
