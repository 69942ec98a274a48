"""Exact match of short answers."""

import string
from collections.abc import Iterable

ARTICLES = frozenset({"a", "an", "the"})


def normalised(answer: str) -> str:
    """Lower case, without punctuation around words and without articles."""
    words = (word.strip(string.punctuation) for word in answer.lower().split())
    return " ".join(word for word in words if word and word not in ARTICLES)


def exact_match(predicted: str, target: str) -> bool:
    """Whether two answers say the same after normalisation."""
    return normalised(predicted) == normalised(target)


def accuracy(pairs: Iterable[tuple[str, str]]) -> float:
    """Part of (predicted, target) pairs that match; 0 for none."""
    matches = [exact_match(*pair) for pair in pairs]
    return sum(matches) / len(matches) if matches else 0.0
