"""Questions with short answers, drawn so that no answer is likelier than another of its kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hyperseg_bench.quality.datasets.shapes.expressions import MARGIN, RELATIONS, descriptions
from hyperseg_bench.quality.datasets.shapes.things import COLOURS, SHAPES, VALUES, Attribute, Description, Thing

COUNTS = ("one", "two", "three", "four", "five", "six")


@dataclass(frozen=True)
class Question:
    text: str
    kind: str
    answer: str


def _presence(things: Sequence[Thing], generator: np.random.Generator) -> list[Question]:
    """Yes for a colour and shape that are there together; no where only one or none of them is."""
    there = {(thing.colour, thing.shape) for thing in things}
    colours = {thing.colour for thing in things}
    absent = [(c, s) for c in COLOURS for s in SHAPES if (c, s) not in there]
    near = [pair for pair in absent if pair[0] in colours]
    missing = near if near and generator.random() < 0.5 else absent
    pairs = ((sorted(there), "yes"), (missing, "no"))
    made = []
    for options, answer in pairs:
        colour, shape = options[generator.integers(len(options))]
        made.append(Question(f"is there a {colour} {shape}?", "presence", answer))
    return made


def _attribute(asked: Attribute, named: Attribute) -> Callable[[Sequence[Thing], np.random.Generator], list[Question]]:
    def make(things: Sequence[Thing], generator: np.random.Generator) -> list[Question]:
        made = []
        for value in VALUES[named]:
            description = Description(**{named: value})
            found = description.find(things)
            if len(found) == 1:
                text = f"what {asked} is the {description.words()}?"
                made.append(Question(text, asked, getattr(things[found[0]], asked)))
        return made

    return make


def _count(things: Sequence[Thing], generator: np.random.Generator) -> list[Question]:
    made = []
    for description in descriptions(things, most=1):
        if description.texture is None and description.size is None:
            number = len(description.find(things))
            made.append(Question(f"how many {description.words(plural=True)} are there?", "count", COUNTS[number - 1]))
    return made


def _side(things: Sequence[Thing], generator: np.random.Generator) -> list[Question]:
    unique = [(d, d.find(things)[0]) for d in descriptions(things, most=2) if len(d.find(things)) == 1]
    unique = [(d, index) for d, index in unique if d.texture is None and d.size is None]
    made = []
    for words, index in unique:
        for anchor_words, anchor in unique:
            if index == anchor:
                continue
            for relation, distance in RELATIONS.items():
                amount = distance(things[index], things[anchor])
                if abs(amount) >= MARGIN:
                    text = f"is the {words.words()} {relation} the {anchor_words.words()}?"
                    made.append(Question(text, "side", "yes" if amount > 0 else "no"))
    return made


MAKERS: dict[str, Callable[[Sequence[Thing], np.random.Generator], list[Question]]] = {
    "presence": _presence,
    "colour": _attribute("colour", "shape"),
    "shape": _attribute("shape", "colour"),
    "count": _count,
    "side": _side,
}
KINDS = tuple(MAKERS)
ANSWERS: dict[str, tuple[str, ...]] = {
    "presence": ("yes", "no"),
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "count": COUNTS[:4],
    "side": ("yes", "no"),
}
"""Kind -> its possible answers; chance is one over their number."""


class QuestionMaker:
    """Draws questions about scene after scene; rarer answers are preferred, so that each kind stays balanced."""

    def __init__(self) -> None:
        self._asked = {(kind, answer): 0 for kind, answers in ANSWERS.items() for answer in answers}

    def choose(self, things: Sequence[Thing], generator: np.random.Generator) -> list[Question]:
        """At most one question of each kind: of those possible, one whose answer was given least so far."""
        chosen = []
        for kind, make in MAKERS.items():
            options = [option for option in make(things, generator) if (kind, option.answer) in self._asked]
            if not options:
                continue
            asked = [self._asked[kind, option.answer] for option in options]
            rarest = [option for option, times in zip(options, asked, strict=True) if times == min(asked)]
            picked = rarest[generator.integers(len(rarest))]
            self._asked[kind, picked.answer] += 1
            chosen.append(picked)
        return chosen
