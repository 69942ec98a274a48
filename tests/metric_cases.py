"""Cases for metrics, drawn from seeds: masks and maps on which the reference implementations were run.

What they gave is in `benchmarks/quality/metrics/reference_values.json`.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from hyperseg_bench.quality.metrics.panoptic import VOID, Segment

HEIGHT, WIDTH = 48, 64
CATEGORIES = {1: True, 2: True, 3: False, 4: False}
"""Number -> whether it is a thing."""


def blob(generator: np.random.Generator) -> np.ndarray:
    """An ellipse anywhere, also across a border, (H, W) bool."""
    centre = int(generator.integers(WIDTH)), int(generator.integers(HEIGHT))
    axes = int(generator.integers(3, 20)), int(generator.integers(3, 20))
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(canvas, centre, axes, int(generator.integers(180)), 0, 360, 1, -1)
    return canvas.astype(bool)


def moved(mask: np.ndarray, generator: np.random.Generator, most: int = 4) -> np.ndarray:
    """The mask some pixels further; what leaves on one side comes in on the other."""
    down, right = generator.integers(-most, most + 1, 2)
    return np.roll(mask, (int(down), int(right)), (0, 1))


def pair(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A found and a true mask and void, each (H, W) bool; sometimes one is empty."""
    generator = np.random.default_rng((1, seed))
    truth = blob(generator) | blob(generator)
    found = moved(truth, generator)
    if seed % 5 == 3:
        found = np.zeros_like(found)
    if seed % 5 == 4:
        truth = np.zeros_like(truth)
    if seed % 10 == 4:
        found = np.zeros_like(found)
    return found, truth, blob(generator)


def clip(seed: int, frames: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for the frames of a clip, (T, H, W)."""
    found, truth, void = zip(*(pair(100 * seed + frame) for frame in range(frames)), strict=True)
    return np.stack(found), np.stack(truth), np.stack(void)


@dataclass(frozen=True)
class Panoptic:
    """A map (H, W) int64 and its segments."""

    numbers: np.ndarray
    segments: tuple[Segment, ...]


def panoptic_pair(seed: int) -> tuple[Panoptic, Panoptic]:
    """A found and a true map: segments that moved, that are missing, of another category; void; a crowd."""
    generator = np.random.default_rng((2, seed))
    found, truth = np.full((HEIGHT, WIDTH), VOID), np.full((HEIGHT, WIDTH), VOID)
    categories: dict[int, int] = {}
    claimed: dict[int, int] = {}
    for number in range(1, 9):
        mask, categories[number] = blob(generator), int(generator.integers(1, 5))
        truth[mask] = number
        if generator.random() < 0.8:
            found[moved(mask, generator)] = number + 20
            claimed[number + 20] = categories[number] if generator.random() < 0.8 else int(generator.integers(1, 5))
    crowd = int(generator.integers(1, 9)) if seed % 2 else 0
    there, seen = set(np.unique(truth).tolist()), set(np.unique(found).tolist())
    return (
        Panoptic(found, tuple(Segment(n, c) for n, c in claimed.items() if n in seen)),
        Panoptic(truth, tuple(Segment(n, c, n == crowd) for n, c in categories.items() if n in there)),
    )
