"""What can be asked of an image. A family declares which of these it answers, in which tasks."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from hyperseg_runtime.contracts.sampling import GREEDY, Sampling
from hyperseg_runtime.errors import InputError


@dataclass(frozen=True)
class Expressions:
    """Segment what each text refers to; one result for each. `task` None takes the family's first for expressions.

    `max_tokens` bounds the text in tasks where the model writes before it segments; None: the family's default.
    """

    kind: ClassVar[str] = "expressions"

    texts: tuple[str, ...]
    task: str | None = None
    max_tokens: int | None = None

    @classmethod
    def of(cls, texts: Sequence[str], task: str | None = None) -> "Expressions":
        """Raises InputError for a single text where a list belongs."""
        return cls(_listed(texts, "texts"), task)


@dataclass(frozen=True)
class Classes:
    """Segment whatever belongs to one of these classes; one result for the whole list.

    things    whether each class is countable (a thing) or not (stuff); None where the task does not ask
    parts     object name -> names of its parts, for families that segment parts
    synonyms  for each class further names that mean the same, or nothing for all
    """

    kind: ClassVar[str] = "classes"

    names: tuple[str, ...]
    task: str | None = None
    things: tuple[bool, ...] | None = None
    parts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    synonyms: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        task: str | None = None,
        things: Sequence[bool] | None = None,
        synonyms: Sequence[Sequence[str]] = (),
    ) -> "Classes":
        """Raises InputError for a single text, a name that is empty or stands twice, or flags of another length."""
        listed = _listed(names, "names")
        known = [*listed, *(name for more in synonyms for name in _listed(more, "synonyms"))]
        empty = [number for number, name in enumerate(known[: len(listed)], 1) if not name.strip()]
        if empty or not all(name.strip() for name in known):
            where = f"class {', '.join(map(str, empty))}" if empty else "a synonym"
            raise InputError(f"the class list holds an empty name: {where} of {len(listed)}")
        twice = sorted(name for name, count in Counter(known).items() if count > 1)
        if twice:
            raise InputError(f"the class list holds {', '.join(twice)} more than once")
        if things is not None and len(things) != len(listed):
            raise InputError(f"{len(listed)} class names but {len(things)} thing flags")
        if synonyms and len(synonyms) != len(listed):
            raise InputError(f"{len(listed)} class names but synonyms of {len(synonyms)}")
        more = tuple(tuple(names) for names in synonyms)
        return cls(listed, task, None if things is None else tuple(things), synonyms=more)


@dataclass(frozen=True)
class Regions:
    """Segment the object at each region, given in pixels of the image; one result for each, of any mixture and in this
    order.

    points      x, y
    boxes       x0, y0, x1, y1 with exclusive x1, y1
    scribbles   (H, W) bool at the size of the image: lines drawn over the object
    masks       (H, W) bool at the size of the image: rough masks
    seed        points of regions are drawn at random with it, as some authors' code does; None: all of a region counts
    """

    kind: ClassVar[str] = "regions"

    points_xy: tuple[tuple[float, float], ...] = ()
    boxes_xyxy: tuple[tuple[float, float, float, float], ...] = ()
    scribbles: tuple[np.ndarray, ...] = field(default=(), compare=False)
    masks: tuple[np.ndarray, ...] = field(default=(), compare=False)
    task: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Question:
    """A question answered in words. `max_tokens` None: the family's default, less where the context ends."""

    kind: ClassVar[str] = "questions"

    text: str
    sampling: Sampling = GREEDY
    max_tokens: int | None = None
    task: str | None = None


SegmentationRequest = Expressions | Classes | Regions
Request = SegmentationRequest | Question
REQUEST_KINDS: dict[str, type[Request]] = {kind.kind: kind for kind in (Expressions, Classes, Regions, Question)}


def _listed(texts: Sequence[str], what: str) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise InputError(f"expected a list of {what}, got one text: {texts!r}")
    return tuple(texts)
