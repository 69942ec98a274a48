"""From an image to what the graphs take that look at nothing else."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.tables import HostTables
from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.families.hyperseg.spec import LATENTS, RESIZES, HypersegDimensions
from hyperseg_runtime.images.preprocessing import longest_side_square, plain_square


def image_inputs(bundle: Bundle) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function from RGB (H, W, 3) uint8 to float32 inputs by name, with a batch axis of 1."""
    dims = HypersegDimensions.model_validate(bundle.manifest.dimensions)
    latents = HostTables(bundle, {LATENTS: dims.tables()[LATENTS]}).table(LATENTS)[None]

    def prepare(image_hwc_u8: np.ndarray) -> dict[str, np.ndarray]:
        return {**{name: encoder_image(name, image_hwc_u8, dims) for name in RESIZES}, "latents": latents}

    return prepare


def encoder_image(name: str, image_hwc_u8: np.ndarray, dims: HypersegDimensions) -> np.ndarray:
    """Input `name` of an encoder, (1, 3, side, side) float32."""
    if name == "images":
        return longest_side_square(image_hwc_u8, dims.image_px)[0][None]
    return plain_square(image_hwc_u8, dims.clip_image_px)[None]


class HostImages(Mapping[str, Buffer]):
    """Both encoders' images, each made by the host when it is asked for."""

    def __init__(self, image_hwc_u8: np.ndarray, dims: HypersegDimensions, backend: Backend) -> None:
        self._image = image_hwc_u8
        self._dims = dims
        self._backend = backend

    def __getitem__(self, name: str) -> Buffer:
        with span("preprocess"):
            pixels = encoder_image(name, self._image, self._dims)
        return self._backend.upload(pixels)

    def __iter__(self) -> Iterator[str]:
        return iter(RESIZES)

    def __len__(self) -> int:
        return len(RESIZES)
