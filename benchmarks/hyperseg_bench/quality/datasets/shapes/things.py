"""The vocabulary of made scenes: what a thing can be, and descriptions that pick things out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Attribute = Literal["shape", "colour", "texture", "size"]
ATTRIBUTES: tuple[Attribute, ...] = ("size", "colour", "texture", "shape")
"""In the order in which English says them."""

SHAPES = ("circle", "square", "triangle", "cross", "ring")
COLOURS = {
    "red": (214, 40, 36),
    "yellow": (244, 208, 32),
    "green": (40, 158, 62),
    "blue": (36, 84, 214),
    "purple": (146, 54, 178),
    "white": (244, 244, 244),
    "black": (18, 18, 18),
}
"""Name -> RGB, 0..255."""
TEXTURES = ("plain", "striped", "dotted", "checked")
SIZES = {"small": (0.085, 0.105), "medium": (0.13, 0.155), "large": (0.19, 0.22)}
"""Name -> range of the radius; the ranges are far enough apart to be told by eye."""
PLURALS = {"cross": "crosses"}
ANY = "object"

VALUES: dict[Attribute, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "texture": TEXTURES,
    "size": tuple(SIZES),
}


@dataclass(frozen=True)
class Thing:
    """`radius` is about half the thing's extent; later things of a scene lie in front of earlier ones."""

    shape: str
    colour: str
    texture: str
    size: str
    x: float
    y: float
    radius: float
    angle: float  # radians, clockwise


@dataclass(frozen=True)
class Description:
    """Attributes a thing must have; None where any will do."""

    shape: str | None = None
    colour: str | None = None
    texture: str | None = None
    size: str | None = None

    def matches(self, thing: Thing) -> bool:
        wanted = ((getattr(self, attribute), getattr(thing, attribute)) for attribute in ATTRIBUTES)
        return all(value is None or value == found for value, found in wanted)

    def find(self, things: Sequence[Thing]) -> tuple[int, ...]:
        """Indices of the things that match."""
        return tuple(index for index, thing in enumerate(things) if self.matches(thing))

    def words(self, plural: bool = False) -> str:
        """ "small red striped circle", or "objects" where no shape is named."""
        noun = self.shape or ANY
        if plural:
            noun = PLURALS.get(noun, noun + "s")
        said = (getattr(self, attribute) for attribute in ATTRIBUTES[:-1])
        return " ".join([*filter(None, said), noun])


def describe(thing: Thing, attributes: Sequence[Attribute]) -> Description:
    """Names some attributes of `thing`."""
    return Description(**{attribute: getattr(thing, attribute) for attribute in attributes})
