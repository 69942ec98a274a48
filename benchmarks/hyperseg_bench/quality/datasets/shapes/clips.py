"""Clips: the things of a scene move straight on and turn back at the borders."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hyperseg_bench.quality.datasets.shapes.drawing import BACKGROUNDS, background, paint, silhouette
from hyperseg_bench.quality.datasets.shapes.expressions import Expression, all_expressions
from hyperseg_bench.quality.datasets.shapes.scene import SIDE_PX, place_things
from hyperseg_bench.quality.datasets.shapes.things import Thing

CLIP_ENTROPY = 0xC11B
FRAMES = 8
FASTEST = 0.035
"""Of the image's side in one frame, along each axis."""
KINDS = ("attribute", "plural")
"""What is said of a clip holds in every frame, so it names no place."""
SHOWN = 0.3
"""Each target shows at least this part of its silhouette in every frame."""


@dataclass(frozen=True)
class Clip:
    """frames (T, H, W, 3) uint8; labels (T, H, W) uint8 as in `Scene`; things[t] are those of frame t, same order."""

    seed: int
    frames: np.ndarray
    labels: np.ndarray
    things: tuple[tuple[Thing, ...], ...]

    def masks(self, targets: Sequence[int]) -> np.ndarray:
        """Visible pixels of some things in every frame, (T, H, W) bool."""
        chosen: np.ndarray = np.isin(self.labels, [target + 1 for target in targets])
        return chosen


def make_clip(seed: int, photographs: Sequence[np.ndarray] = (), side_px: int = SIDE_PX, frames: int = FRAMES) -> Clip:
    """The clip of a seed; the background stands still."""
    generator = np.random.default_rng((CLIP_ENTROPY, seed))
    kind = BACKGROUNDS[generator.integers(len(BACKGROUNDS) - (not photographs))]
    things = place_things(generator)
    velocities = generator.uniform(-FASTEST, FASTEST, (len(things), 2))
    canvas = background(kind, side_px, generator, photographs)
    images, labels, tracks = [], [], []
    for frame in range(frames):
        moved = tuple(_moved(thing, frame * velocity) for thing, velocity in zip(things, velocities, strict=True))
        drawn, numbers = canvas.copy(), np.zeros((side_px, side_px), np.uint8)
        paint(drawn, numbers, moved)
        drawn += generator.normal(0, 3, drawn.shape).astype(np.float32)
        images.append(np.clip(np.rint(drawn), 0, 255).astype(np.uint8))
        labels.append(numbers)
        tracks.append(moved)
    return Clip(seed, np.stack(images), np.stack(labels), tuple(tracks))


def _moved(thing: Thing, way: np.ndarray) -> Thing:
    x, y = (
        _reflected(start + distance, thing.radius + 0.01, 1 - thing.radius - 0.01)
        for start, distance in zip((thing.x, thing.y), way.tolist(), strict=True)
    )
    return replace(thing, x=x, y=y)


def _reflected(position: float, low: float, high: float) -> float:
    """`position` on a line whose ends are mirrors."""
    span = high - low
    along = (position - low) % (2 * span)
    return low + (along if along <= span else 2 * span - along)


def clip_expressions(clip: Clip, count: int, generator: np.random.Generator) -> list[Expression]:
    """Up to `count` expressions whose targets can be seen in every frame."""
    found = all_expressions(clip.things[0])
    shown = _shown(clip)
    options = [e for kind in KINDS for e in found[kind] if all(shown[target] >= SHOWN for target in e.targets)]
    return [options[index] for index in generator.permutation(len(options))[:count]]


def _shown(clip: Clip) -> list[float]:
    """The least part of each thing that a frame shows."""
    least: list[float] = []
    for index in range(len(clip.things[0])):
        parts: list[float] = []
        for things, labels in zip(clip.things, clip.labels, strict=True):
            area = int(np.count_nonzero(silhouette(things[index], labels.shape[0]) < 0))
            parts.append(int(np.count_nonzero(labels == index + 1)) / area)
        least.append(float(min(parts)))
    return least
