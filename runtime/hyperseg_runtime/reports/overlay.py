"""Drawing masks on their image."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hyperseg_runtime.contracts.results import Instances, PanopticMap, Result, SemanticMap, box_xyxy, joined
from hyperseg_runtime.reports.colours import colour_of

COLOUR_RGB = (24, 119, 255)
OPACITY = 0.45
OUTLINE_SHARE = 400
"""The outline is one pixel wide per this many pixels of the image's longest side."""
NAME_SHARE = 45
"""The height of a name is this part of the image's longest side."""
LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Weights of red, green and blue (ITU-R BT.709)."""
BRIGHT = 128
SPOTLIGHT_RGB = (255, 255, 255)
DIMMED = 0.4
"""How bright a spotlight leaves what it is not on."""


def draw_overlay(image_hwc_u8: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = COLOUR_RGB) -> np.ndarray:
    """The image with the mask tinted and outlined, (H, W, 3) uint8; the input is left as it is."""
    drawn = image_hwc_u8.copy()
    tint = np.array(colour, np.float32)
    drawn[mask] = (drawn[mask] * (1 - OPACITY) + tint * OPACITY).astype(np.uint8)
    return _outlined(drawn, mask, colour)


def draw_list(image_hwc_u8: np.ndarray, result: Result) -> np.ndarray:
    """The image with every part of the result in its class's colour, with name and score, (H, W, 3) uint8.

    Of instances those that score highest are drawn last, over the others, and each object's own parts over it.
    """
    parts = list(_parts(result))
    drawn = image_hwc_u8
    for name, _, mask in parts:
        drawn = draw_overlay(drawn, mask, colour_of(name))
    picture = Image.fromarray(drawn)
    pen = ImageDraw.Draw(picture)
    font = _font(max(10, max(drawn.shape[:2]) // NAME_SHARE))
    for name, score, mask in parts:
        text = name if score is None else f"{name} {score:.2f}"
        at = _place(mask)
        colour = colour_of(name)
        pen.rectangle(pen.textbbox(at, text, font=font), fill=colour)
        pen.text(at, text, fill="black" if np.dot(colour, LUMINANCE) > BRIGHT else "white", font=font)
    return np.asarray(picture)


def draw_best(image_hwc_u8: np.ndarray, results: Sequence[Instances]) -> np.ndarray:
    """The best mask of each result as `draw_list` draws them: what each of several texts means."""
    best = [result.chosen(range(min(1, len(result.masks)))) for result in results]
    asked = [text for result in results for text in result.asked]
    return draw_list(image_hwc_u8, joined(best, asked, "", image_hwc_u8.shape[:2]))


def _parts(result: Result) -> Iterator[tuple[str, float | None, np.ndarray]]:
    """Name, score if there is one, and mask of what has a pixel, in the order in which it is drawn."""
    match result:
        case Instances():
            for row in reversed(range(len(result.masks))):
                if result.masks[row].any():
                    yield result.labels[row], float(result.scores[row]), result.masks[row]
                    yield from ((name, None, mask) for name, mask in result.parts(row))
        case SemanticMap(asked=names, classes=classes):
            for index in np.unique(classes[classes >= 0]).tolist():
                yield names[index], None, classes == index
        case PanopticMap(asked=names, ids=ids, segments=segments):
            for segment in segments:
                if (ids == segment.id).any():
                    yield names[segment.class_index], segment.score, ids == segment.id


def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """DejaVu, which matplotlib brings; Pillow's own font ends with ASCII.

    Found without importing matplotlib, which looks for a place to write to.
    """
    spec = find_spec("matplotlib")
    places = spec.submodule_search_locations if spec else None
    return ImageFont.truetype(Path((places or [""])[0]) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", size_px)


def _place(mask: np.ndarray) -> tuple[float, float]:
    """x, y of the name: at the upper edge of the mask's box."""
    x0, y0, x1, _ = box_xyxy(mask)
    return (x0 + (x1 - x0) / 4, y0)


def draw_spotlight(image_hwc_u8: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image darkened and the mask as bright as it was, outlined, (H, W, 3) uint8; plain on things of any colour."""
    dark = (image_hwc_u8 * np.float32(DIMMED)).astype(np.uint8)
    return _outlined(np.where(mask[..., None], image_hwc_u8, dark), mask, SPOTLIGHT_RGB)


def _outlined(drawn: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, contours, -1, colour, max(1, max(mask.shape) // OUTLINE_SHARE))
    return drawn
