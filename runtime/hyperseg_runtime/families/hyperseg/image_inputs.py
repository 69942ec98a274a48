"""From an image to what the graphs take that look at nothing else."""

from collections.abc import Callable

import numpy as np

from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.tables import LATENTS, Embeddings
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.images.preprocessing import longest_side_square, plain_square


def image_inputs(bundle: Bundle) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function from RGB (H, W, 3) uint8 to float32 inputs by name, with a batch axis of 1."""
    dims = HypersegDimensions.model_validate(bundle.manifest.dimensions)
    latents = Embeddings(bundle.directory).table(LATENTS)[None]

    def prepare(image_hwc_u8: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "images": longest_side_square(image_hwc_u8, dims.image_px)[0][None],
            "images_clip": plain_square(image_hwc_u8, dims.clip_image_px)[None],
            "latents": latents,
        }

    return prepare
