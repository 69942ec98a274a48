"""From an image to what encoders take: square, normalised, made by the host or by the graph `preprocess`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hyperseg_kernels.pillow_resize.axis import Filter
from hyperseg_runtime.backends.base import Backend, Buffer
from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.contracts.axes import Axis
from hyperseg_runtime.images.preprocessing import longest_side_square, plain_square, square_geometry


@dataclass(frozen=True)
class EncoderImage:
    """Input `name` of an encoder, a square of `side_px`: the image stretched to it, or `padded` with its shape kept."""

    name: str
    side_px: int
    filter: Filter
    padded: bool

    @property
    def resized_axes(self) -> tuple[Axis, Axis]:
        """Height and width of the resized pixels in the graph that makes it."""
        return ("rows", "columns") if self.padded else (self.side_px, self.side_px)

    def resized_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        return square_geometry(*image_hw, self.side_px).valid_hw if self.padded else (self.side_px, self.side_px)

    def array(self, image_hwc_u8: np.ndarray) -> np.ndarray:
        """RGB (H, W, 3) uint8 -> (1, 3, side, side) float32."""
        if self.padded:
            return longest_side_square(image_hwc_u8, self.side_px)[0][None]
        return plain_square(image_hwc_u8, self.side_px)[None]


def mask_image(side_px: int) -> EncoderImage:
    """What the mask branch takes (hyperseg-spec 3.1)."""
    return EncoderImage("images", side_px, Filter.BILINEAR, padded=True)


def clip_image(side_px: int) -> EncoderImage:
    """What an image tower of the language branch takes (hyperseg-spec 3.2)."""
    return EncoderImage("images_clip", side_px, Filter.BICUBIC, padded=False)


class HostImages(Mapping[str, Buffer]):
    """Encoders' images by name, each made by the host when it is asked for."""

    def __init__(self, image_hwc_u8: np.ndarray, wanted: Sequence[EncoderImage], backend: Backend) -> None:
        self._image = image_hwc_u8
        self._wanted = {image.name: image for image in wanted}
        self._backend = backend

    def __getitem__(self, name: str) -> Buffer:
        with span("preprocess"):
            pixels = self._wanted[name].array(self._image)
        return self._backend.upload(pixels)

    def __iter__(self) -> Iterator[str]:
        return iter(self._wanted)

    def __len__(self) -> int:
        return len(self._wanted)
