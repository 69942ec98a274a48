"""The names of a class list: that of each class, and its synonyms, which mean the same."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import Instances, joined


def names_by_class(request: Classes) -> list[tuple[str, ...]]:
    """For each class its name, then its synonyms."""
    synonyms = request.synonyms or ((),) * len(request.names)
    return [(name, *more) for name, more in zip(request.names, synonyms, strict=True)]


def every_name(request: Classes) -> tuple[str, ...]:
    """One after another, class by class."""
    return tuple(name for names in names_by_class(request) for name in names)


def answered_one_by_one(
    request: Classes, found: Sequence[Instances], task: str, image_hw: tuple[int, int]
) -> Instances:
    """The list's answer, where `found` holds what each of `every_name` was answered with as an expression.

    A class has the mask of its likeliest name; details count all names.
    """
    return joined([*_likeliest(request, found)], request.names, task, image_hw)


def _likeliest(request: Classes, found: Sequence[Instances]) -> Iterator[Instances]:
    """Of each class the best answer, called as the class; of the others the details alone."""
    answers = iter(found)
    for names in names_by_class(request):
        of_class = [next(answers) for _ in names]
        best = max(of_class, key=lambda one: one.score)
        for one in of_class:
            yield replace(one, labels=names[:1] * len(one.labels)) if one is best else one.chosen([])
