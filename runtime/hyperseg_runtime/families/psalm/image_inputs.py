"""From an image to what the graphs take that look at nothing else."""

from collections.abc import Callable

import numpy as np

from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.families.psalm.spec import PsalmDimensions


def image_inputs(bundle: Bundle) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function from RGB (H, W, 3) uint8 to float32 inputs by name, with a batch axis of 1."""
    dims = PsalmDimensions.model_validate(bundle.manifest.dimensions)
    return lambda image_hwc_u8: {image.name: image.array(image_hwc_u8) for image in dims.encoder_images}
