"""From things to pixels: silhouettes as distances, textures, backgrounds."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperseg_bench.quality.datasets.shapes.things import COLOURS, Thing

TEXTURE_PERIOD = 0.09
"""Width of one stripe with its gap; a small thing holds more than two."""
BACKGROUNDS = ("flat", "gradient", "noise", "photograph")
Array = npt.NDArray[Any]


def silhouette(thing: Thing, side_px: int) -> Array:
    """Distance of every pixel's centre from the thing's outline in pixels, (H, W) float32, negative inside.

    Exact next to straight edges and curves, an underestimate outside corners, where it does not matter.
    """
    x, y = _local_axes(thing, side_px)
    return np.asarray(_DISTANCES[thing.shape](x, y, thing.radius), np.float32) * side_px


def _local_axes(thing: Thing, side_px: int) -> tuple[Array, Array]:
    """Coordinates of pixel centres in the thing's own frame, each (H, W) float32."""
    axis = (np.arange(side_px, dtype=np.float32) + 0.5) / side_px
    dx, dy = axis[None, :] - np.float32(thing.x), axis[:, None] - np.float32(thing.y)
    cos, sin = np.float32(math.cos(thing.angle)), np.float32(math.sin(thing.angle))
    return dx * cos + dy * sin, dy * cos - dx * sin


def _circle(x: Array, y: Array, radius: float) -> Array:
    distance: Array = np.hypot(x, y) - radius
    return distance


def _ring(x: Array, y: Array, radius: float) -> Array:
    """A disc of 1.05 times the radius with a hole of 0.45 times."""
    distance: Array = np.abs(np.hypot(x, y) - 0.75 * radius) - 0.3 * radius
    return distance


def _square(x: Array, y: Array, radius: float) -> Array:
    distance: Array = np.maximum(np.abs(x), np.abs(y)) - 0.88 * radius
    return distance


def _triangle(x: Array, y: Array, radius: float) -> Array:
    """Equilateral, pointing up; a little lower than its centroid, so that its box is centred."""
    inner = 0.66 * radius
    y = y - 0.5 * inner
    distance: Array = np.maximum(y - inner, np.abs(x) * np.float32(math.sqrt(0.75)) - y * np.float32(0.5) - inner)
    return distance


def _cross(x: Array, y: Array, radius: float) -> Array:
    across, along = np.abs(x), np.abs(y)
    arm, half_width = 1.05 * radius, 0.36 * radius
    level, upright = (np.maximum(a - arm, b - half_width) for a, b in ((across, along), (along, across)))
    distance: Array = np.minimum(level, upright)
    return distance


_DISTANCES: dict[str, Callable[[Array, Array, float], Array]] = {
    "circle": _circle,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
}


def surface(thing: Thing, side_px: int) -> Array:
    """The thing's colour at every pixel, (H, W, 3) float32 in 0..255: its tone, or the second tone of its texture."""
    tone = np.array(COLOURS[thing.colour], np.float32)
    second = tone * np.float32(0.45) if tone.max() > 60 else tone + np.float32(120)
    x, y = (axis / np.float32(TEXTURE_PERIOD) for axis in _local_axes(thing, side_px))
    match thing.texture:
        case "striped":
            marked = (x + y) * np.float32(math.sqrt(0.5)) % 1 < 0.5
        case "checked":
            marked = (x % 1 < 0.5) ^ (y % 1 < 0.5)
        case "dotted":
            marked = np.hypot(x % 1 - 0.5, y % 1 - 0.5) < 0.33
        case _:
            marked = np.zeros(x.shape, np.bool_)
    return np.where(marked[..., None], second, tone)


def paint(canvas: Array, labels: Array, things: Sequence[Thing]) -> None:
    """Draw things in order into `canvas` (H, W, 3) float32; number their visible pixels from 1 in `labels` (H, W)."""
    side_px = len(labels)
    for number, thing in enumerate(things, 1):
        distance = silhouette(thing, side_px)
        cover = np.clip(0.5 - distance, 0, 1)[..., None]
        canvas += cover * (surface(thing, side_px) - canvas)
        labels[distance < 0] = number


def background(kind: str, side_px: int, generator: np.random.Generator, photographs: Sequence[Array]) -> Array:
    """(H, W, 3) float32 in 0..255, muted so that no thing drowns. `photographs` are (H, W, 3) uint8."""
    if kind == "photograph":
        return _crop(photographs[int(generator.integers(len(photographs)))], side_px, generator)
    first, second = _muted(generator), _muted(generator)
    if kind == "flat":
        return np.broadcast_to(first, (side_px, side_px, 3)).copy()
    if kind == "gradient":
        angle = generator.uniform(0, 2 * math.pi)
        axis = np.linspace(-0.7, 0.7, side_px, dtype=np.float32)
        ramp = axis[None, :] * np.float32(math.cos(angle)) + axis[:, None] * np.float32(math.sin(angle))
        blended: Array = first + (np.clip(ramp, -0.5, 0.5) + np.float32(0.5))[..., None] * (second - first)
        return blended
    cells = int(generator.integers(4, 33))
    coarse = generator.normal(0, 30, (cells, cells)).astype(np.float32)
    clouds = np.asarray(Image.fromarray(coarse).resize((side_px, side_px), Image.Resampling.BICUBIC))
    clouded: Array = np.clip(first + clouds[..., None], 0, 255)
    return clouded


def _muted(generator: np.random.Generator) -> Array:
    grey = generator.uniform(70, 190)
    tone: Array = (grey + generator.uniform(-25, 25, 3)).astype(np.float32)
    return tone


def _crop(photograph: Array, side_px: int, generator: np.random.Generator) -> Array:
    """A random square of the photograph, at least a third of its shorter side, maybe mirrored."""
    height, width = photograph.shape[:2]
    extent = int(min(height, width) * generator.uniform(1 / 3, 1))
    top, left = generator.integers(height - extent + 1), generator.integers(width - extent + 1)
    square = photograph[top : top + extent, left : left + extent]
    if generator.random() < 0.5:
        square = square[:, ::-1]
    resized = Image.fromarray(np.ascontiguousarray(square)).resize((side_px, side_px), Image.Resampling.BILINEAR)
    dimmed: Array = np.asarray(resized, np.float32) * np.float32(0.85) + np.float32(18)
    return dimmed
