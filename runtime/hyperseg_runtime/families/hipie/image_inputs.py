"""From an image to what the backbone takes."""

from collections.abc import Callable

import numpy as np

from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.families.hipie.canvas import canvas
from hyperseg_runtime.families.hipie.spec import HipieDimensions


def image_inputs(bundle: Bundle) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function from RGB (H, W, 3) uint8 to float32 inputs by name, with a batch axis of 1."""
    dims = HipieDimensions.model_validate(bundle.manifest.dimensions)
    return lambda image_hwc_u8: {
        "images": canvas(image_hwc_u8, dims.size_multiple, dims.short_px, dims.long_px)[0][None]
    }
