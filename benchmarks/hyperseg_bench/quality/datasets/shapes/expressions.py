"""Referring expressions with one meaning each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hyperseg_bench.quality.datasets.shapes.things import ATTRIBUTES, Attribute, Description, Thing, describe

KINDS = ("attribute", "extreme", "relation", "plural")
MARGIN = 0.07
"""Two centres nearer than this along an axis are neither left nor right of each other for anybody."""
RADIUS_RATIO = 1.18
"""The largest (or smallest) thing differs from the next by this factor."""
MOST_WORDS = 3
"""Attributes named at once."""


@dataclass(frozen=True)
class Expression:
    text: str
    kind: str
    targets: tuple[int, ...]
    """Indices of things, ascending."""


EXTREMES: dict[str, Callable[[Thing], float]] = {
    "leftmost": lambda thing: -thing.x,
    "rightmost": lambda thing: thing.x,
    "topmost": lambda thing: -thing.y,
    "bottommost": lambda thing: thing.y,
    "largest": lambda thing: np.log(thing.radius),
    "smallest": lambda thing: -np.log(thing.radius),
}
"""Word -> what the thing has most of."""

RELATIONS: dict[str, Callable[[Thing, Thing], float]] = {
    "left of": lambda thing, anchor: anchor.x - thing.x,
    "right of": lambda thing, anchor: thing.x - anchor.x,
    "above": lambda thing, anchor: anchor.y - thing.y,
    "below": lambda thing, anchor: thing.y - anchor.y,
}
"""Words -> how far the thing is on that side of the anchor."""


def all_expressions(things: Sequence[Thing]) -> dict[str, list[Expression]]:
    """Every expression that is unambiguous about these things, by kind."""
    found: dict[str, list[Expression]] = {
        "attribute": list(_attributes(things)),
        "extreme": list(_extremes(things)),
        "relation": list(_relations(things)),
        "plural": list(_plurals(things)),
    }
    return found


def choose_expressions(things: Sequence[Thing], count: int, generator: np.random.Generator) -> list[Expression]:
    """Up to `count` different ones, the kinds in turn; within a kind all targets are equally likely first."""
    waiting = {kind: _by_target(options, generator) for kind, options in all_expressions(things).items()}
    chosen: list[Expression] = []
    order = [KINDS[index] for index in generator.permutation(len(KINDS))]
    while len(chosen) < count and any(waiting.values()):
        for kind in order:
            if waiting[kind] and len(chosen) < count:
                chosen.append(waiting[kind].pop())
    return chosen


def _by_target(options: Sequence[Expression], generator: np.random.Generator) -> list[Expression]:
    """Shuffled so that taking from the end visits the targets in turn."""
    rounds: dict[tuple[int, ...], int] = {}
    ranked = []
    for index in generator.permutation(len(options)):
        option = options[index]
        rounds[option.targets] = rounds.get(option.targets, 0) + 1
        ranked.append((rounds[option.targets], float(generator.random()), option))
    return [option for _, _, option in sorted(ranked, key=lambda entry: entry[:2], reverse=True)]


def descriptions(things: Sequence[Thing], most: int = MOST_WORDS) -> list[Description]:
    """All that name up to `most` attributes some thing has, and the one that names none."""
    subsets: list[tuple[Attribute, ...]] = [c for n in range(most + 1) for c in combinations(ATTRIBUTES, n)]
    return list(dict.fromkeys(describe(thing, subset) for subset in subsets for thing in things))


def _attributes(things: Sequence[Thing]) -> Iterator[Expression]:
    for description in descriptions(things):
        targets = description.find(things)
        if len(targets) == 1 and description != Description():
            yield Expression(f"the {description.words()}", "attribute", targets)


def _plurals(things: Sequence[Thing]) -> Iterator[Expression]:
    for description in descriptions(things, most=2):
        targets = description.find(things)
        if len(targets) >= 2 and description != Description():
            yield Expression(f"all {description.words(plural=True)}", "plural", targets)


def _extremes(things: Sequence[Thing]) -> Iterator[Expression]:
    for description in descriptions(things, most=1):
        group = description.find(things)
        if len(group) < 2 or description.size is not None:
            continue
        for word, amount in EXTREMES.items():
            best, second = sorted(group, key=lambda index: -amount(things[index]))[:2]
            margin = np.log(RADIUS_RATIO) if word in ("largest", "smallest") else MARGIN
            if amount(things[best]) - amount(things[second]) >= margin:
                yield Expression(f"the {word} {description.words()}", "extreme", (best,))


def _relations(things: Sequence[Thing]) -> Iterator[Expression]:
    """The anchor is named by what is unique to it; the target's own words fit another thing too."""
    anchors = [(d, d.find(things)[0]) for d in descriptions(things, most=2) if len(d.find(things)) == 1]
    groups = [(d, d.find(things)) for d in descriptions(things, most=1) if d.size is None]
    for anchor_words, anchor in anchors:
        for words, group in groups:
            others = [index for index in group if index != anchor]
            if len(others) < 2:
                continue
            for relation, distance in RELATIONS.items():
                distances = [distance(things[index], things[anchor]) for index in others]
                on_that_side = [index for index, d in zip(others, distances, strict=True) if d >= MARGIN]
                if len(on_that_side) == 1 and all(abs(d) >= MARGIN for d in distances):
                    text = f"the {words.words()} {relation} the {anchor_words.words()}"
                    yield Expression(text, "relation", (on_that_side[0],))
