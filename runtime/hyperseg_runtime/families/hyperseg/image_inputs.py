"""From an image to what the graphs take that look at nothing else."""

from collections.abc import Callable

import numpy as np

from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.tables import HostTables
from hyperseg_runtime.families.hyperseg.spec import LATENTS, HypersegDimensions


def image_inputs(bundle: Bundle) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function from RGB (H, W, 3) uint8 to float32 inputs by name, with a batch axis of 1."""
    dims = HypersegDimensions.model_validate(bundle.manifest.dimensions)
    latents = HostTables(bundle, {LATENTS: dims.tables()[LATENTS]}).table(LATENTS)[None]

    def prepare(image_hwc_u8: np.ndarray) -> dict[str, np.ndarray]:
        return {**{image.name: image.array(image_hwc_u8) for image in dims.encoder_images}, "latents": latents}

    return prepare
