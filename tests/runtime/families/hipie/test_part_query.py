"""Which part of which object a text asks for, and what is no such text."""

import pytest

from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.hipie.part_names import COARSER, PART_NAMES
from hyperseg_runtime.families.hipie.part_query import FORM, PartQuery


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FORM, ("the dog on the left", "head")),
        ("the dog at 10:30: Head ", ("the dog at 10:30", "head")),
        ("first: the second dog:  upper leg", ("first: the second dog", "upper leg")),
        ("it: snout: ear", ("it: snout", "ear")),
    ],
)
def test_what_stands_behind_the_last_separator_is_the_part(text: str, expected: tuple[str, str]) -> None:
    query = PartQuery.of(text, PART_NAMES)
    assert (query.expression, query.part) == expected


@pytest.mark.parametrize("text", ["the dog", "the dog:head", "the dog: ", "the dog:", ": head", "  : head", "at 10:30"])
def test_a_text_without_an_object_or_a_part_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(PromptError) as refused:
        PartQuery.of(text, PART_NAMES)
    assert repr(text) in str(refused.value) and repr(FORM) in str(refused.value)


def test_a_part_that_nothing_can_be_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(PromptError, match=r"no part is called 'lid'; the model knows aeroplane, .*, eye, .*, window"):
        PartQuery.of("the pot: lid", PART_NAMES)
    with pytest.raises(PromptError, match="no part is called 'eye'; the model knows aeroplane, bicycle, "):
        PartQuery.of("the dog: eye", tuple(COARSER))
