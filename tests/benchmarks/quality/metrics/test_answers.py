"""Exact match of answers."""

import pytest

from hyperseg_bench.quality.metrics.answers import accuracy, exact_match


@pytest.mark.parametrize("said", ["red", " Red.", "the red", "RED!"])
def test_case_punctuation_and_articles_do_not_matter(said: str) -> None:
    assert exact_match(said, "red")


@pytest.mark.parametrize("said", ["", "reddish", "red green", "not red"])
def test_other_words_are_wrong(said: str) -> None:
    """Looking for the answer somewhere in what was said would accept the last two."""
    assert not exact_match(said, "red")


def test_accuracy_is_the_part_that_matches() -> None:
    assert accuracy([("yes", "yes"), ("no", "yes"), ("two", "two"), ("", "one")]) == 0.5
    assert accuracy([]) == 0
