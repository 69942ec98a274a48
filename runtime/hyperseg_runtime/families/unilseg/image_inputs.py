"""From an image to what the image encoder takes."""

from collections.abc import Callable

import numpy as np

from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.families.unilseg.spec import UnilsegDimensions
from hyperseg_runtime.images.letterbox import letterbox_square


def image_inputs(bundle: Bundle) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function from RGB (H, W, 3) uint8 to float32 inputs by name, with a batch axis of 1."""
    dims = UnilsegDimensions.model_validate(bundle.manifest.dimensions)
    return lambda image_hwc_u8: {"images": letterbox_square(image_hwc_u8, dims.image_px)[0][None]}
