"""Scenes from seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperseg_bench.quality.datasets.shapes.drawing import BACKGROUNDS, background, paint, silhouette
from hyperseg_bench.quality.datasets.shapes.things import COLOURS, SHAPES, SIZES, TEXTURES, Thing

SIDE_PX = 128
SCENE_ENTROPY = 0x5CE7E
"""Goes into every seed, so that scenes differ from whatever else a small seed draws."""
VISIBLE = 0.6
"""Each thing shows at least this part of its silhouette."""
FEWEST, MOST = 3, 6
PLACING_TRIES = 60


@dataclass(frozen=True)
class Scene:
    """image (H, W, 3) uint8; labels (H, W) uint8: 0 for the background, i + 1 where things[i] is seen."""

    seed: int
    image: np.ndarray
    labels: np.ndarray
    things: tuple[Thing, ...]
    background: str

    def mask(self, targets: Sequence[int]) -> np.ndarray:
        """Visible pixels of some things, (H, W) bool."""
        chosen: np.ndarray = np.isin(self.labels, [target + 1 for target in targets])
        return chosen


def make_scene(seed: int, photographs: Sequence[np.ndarray] = (), side_px: int = SIDE_PX) -> Scene:
    """The scene of a seed. Things and places do not depend on `photographs` and `side_px`; the backgrounds do.

    Without photographs the other kinds of background are used.
    """
    kind, things, generator = _laid_out(seed, photographs)
    canvas = background(kind, side_px, generator, photographs)
    labels = np.zeros((side_px, side_px), np.uint8)
    paint(canvas, labels, things)
    canvas += generator.normal(0, 3, canvas.shape).astype(np.float32)
    return Scene(seed, np.clip(np.rint(canvas), 0, 255).astype(np.uint8), labels, things, kind)


def things_of(seed: int) -> tuple[Thing, ...]:
    """The things of `make_scene`'s scene, without drawing it."""
    return _laid_out(seed, ())[1]


def _laid_out(seed: int, photographs: Sequence[np.ndarray]) -> tuple[str, tuple[Thing, ...], np.random.Generator]:
    """Kind of background, things, and what the rest is drawn with."""
    generator = np.random.default_rng((SCENE_ENTROPY, seed))
    kind = BACKGROUNDS[generator.integers(len(BACKGROUNDS) - (not photographs))]
    return kind, place_things(generator), generator


def place_things(generator: np.random.Generator) -> tuple[Thing, ...]:
    """A few things that share shapes and colours, so that one word seldom tells them apart."""
    shapes = generator.choice(SHAPES, generator.integers(2, 4), replace=False)
    colours = generator.choice(list(COLOURS), generator.integers(2, 5), replace=False)
    count = int(generator.integers(FEWEST, MOST + 1))
    placed: list[Thing] = []
    for _ in range(PLACING_TRIES):
        candidate = _random_thing(generator, shapes, colours)
        if _all_visible([*placed, candidate]):
            placed.append(candidate)
        if len(placed) == count:
            break
    return tuple(placed)


def _random_thing(generator: np.random.Generator, shapes: np.ndarray, colours: np.ndarray) -> Thing:
    size = str(generator.choice(list(SIZES)))
    radius = generator.uniform(*SIZES[size])
    x, y = generator.uniform(radius + 0.01, 1 - radius - 0.01, 2)
    texture = "plain" if generator.random() < 0.4 else str(generator.choice(TEXTURES[1:]))
    return Thing(
        str(generator.choice(shapes)), str(generator.choice(colours)), texture, size,
        float(x), float(y), float(radius), float(generator.uniform(-0.2, 0.2)),
    )  # fmt: skip


def _all_visible(things: Sequence[Thing], side_px: int = 64) -> bool:
    """Whether enough of each thing shows, and no two centres are so near that "left of" means nothing."""
    last = things[-1]
    for other in things[:-1]:
        if np.hypot(other.x - last.x, other.y - last.y) < 0.75 * (other.radius + last.radius):
            return False
    labels = np.zeros((side_px, side_px), np.uint8)
    areas = []
    for number, thing in enumerate(things, 1):
        inside = silhouette(thing, side_px) < 0
        labels[inside] = number
        areas.append(np.count_nonzero(inside))
    seen = np.bincount(labels.ravel(), minlength=len(things) + 1)[1:]
    return all(visible >= VISIBLE * area for visible, area in zip(seen.tolist(), areas, strict=True))
