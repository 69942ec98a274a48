"""What a request costs, known before any of its pixels is decoded."""

from dataclasses import dataclass

from hyperseg_runtime.heads.instances import MOST
from hyperseg_serving.contract import Limits
from hyperseg_serving.refusals import Reason, RefusalError
from hyperseg_serving.service.requests import Request, image_size


@dataclass(frozen=True)
class Cost:
    """mask_pixels    pixels of the image times masks asked for: time and memory of reading masks out grow with it
    waiting_bytes  what the request holds while it waits
    is_heavy       whether it goes to the lane of those that others must not wait for
    """

    mask_pixels: int
    waiting_bytes: int
    is_heavy: bool


def cost_of(request: Request, limits: Limits) -> Cost:
    """Raises RefusalError for an image that is none, and for what is above the limits.

    An image of which nothing is segmented counts as one mask; masks that are also sent as PNG count twice. Of a
    frame no more objects are found than the head gives, however long the list of classes is.
    """
    if request.image is None:
        return Cost(0, 0, is_heavy=False)
    height_px, width_px = image_size(request.image, limits)
    regions = request.regions.count if request.regions else 0
    classes = min(len(request.classes), MOST) if request.stream else len(request.classes)
    masks = max(1, len(request.texts) + classes + regions) * (2 if request.options.png else 1)
    mask_pixels = height_px * width_px * masks
    # Frames of all videos come through one model, one after another; what a first one asks holds for the others.
    most = _most_light(limits) if request.stream else limits.max_mask_pixels
    require_affordable(mask_pixels, most, "ask for fewer at a time, or scale the image down")
    return Cost(mask_pixels, len(request.image), mask_pixels > limits.light_mask_pixels)


def require_affordable(mask_pixels: int, most: int, what_to_do: str) -> None:
    """Raises RefusalError for pixels times masks above `most`."""
    if mask_pixels > most:
        raise RefusalError(
            Reason.TOO_MUCH,
            f"pixels of the image times masks asked for are {mask_pixels:,}, at most {most:,} are taken; {what_to_do}",
        )


def require_light(image_hw: tuple[int, int], texts: int, limits: Limits) -> None:
    """Raise RefusalError for more masks than the ensemble makes for one request."""
    mask_pixels = image_hw[0] * image_hw[1] * texts
    require_affordable(mask_pixels, _most_light(limits), "ask the public model, which has a lane for such requests")


def _most_light(limits: Limits) -> int:
    """Where light requests alone are taken. `max_mask_pixels` may be the smaller, and holds everywhere."""
    return min(limits.light_mask_pixels, limits.max_mask_pixels)
