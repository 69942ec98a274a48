"""A found mask against the true one, drawn on its picture."""

from typing import Any

import numpy as np

from hyperseg_bench.quality.samples import Row, Sample
from hyperseg_runtime.contracts.results import decode_rle
from hyperseg_runtime.images.reading import load_image

RIGHT_RGB, MISSED_RGB, SURPLUS_RGB = (40, 170, 90), (220, 50, 40), (40, 90, 230)
OPACITY = 0.6
LEGEND = "green: found and right; red: missed; blue: found and wrong"


def draw_errors(image_hwc_u8: np.ndarray, found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) uint8 with two masks (H, W) bool: see `LEGEND`."""
    drawn = image_hwc_u8.astype(np.float32)
    for mask, tone in ((found & truth, RIGHT_RGB), (truth & ~found, MISSED_RGB), (found & ~truth, SURPLUS_RGB)):
        drawn[mask] = drawn[mask] * (1 - OPACITY) + np.array(tone, np.float32) * OPACITY
    return np.rint(drawn).astype(np.uint8)


def row_picture(sample: Sample, row: Row) -> np.ndarray | None:
    """The masks of a row on the sample's picture; of a clip its worst frame; None without masks."""
    if "found" not in row:
        return None
    found, truth = _masks(row["found"]), _masks(row["truth"])
    wrong = [int(np.count_nonzero(f != t)) for f, t in zip(found, truth, strict=True)]
    worst = int(np.argmax(wrong))
    return draw_errors(load_image(sample.frames[worst]), found[worst], truth[worst])


def _masks(encoded: Any) -> list[np.ndarray]:
    return [decode_rle(mask) for mask in (encoded if isinstance(encoded, list) else [encoded])]
