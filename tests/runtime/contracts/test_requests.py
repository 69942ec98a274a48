"""What can be asked, and what is refused before any family sees it."""

import dataclasses

import numpy as np
import pytest

from hyperseg_runtime.contracts.requests import REQUEST_KINDS, Classes, Expressions, Question, Regions
from hyperseg_runtime.contracts.sampling import GREEDY
from hyperseg_runtime.errors import InputError


def test_every_kind_of_request_has_a_name() -> None:
    expected = {"expressions": Expressions, "classes": Classes, "regions": Regions, "questions": Question}
    assert expected == REQUEST_KINDS


def test_texts_and_names_stay_in_their_order() -> None:
    assert Expressions.of(["a cup", "a spoon", "a cup"], "reasoning") == Expressions(
        ("a cup", "a spoon", "a cup"), "reasoning"
    )
    asked = Classes.of(["sky", "cat"], "panoptic", [False, True])
    assert (asked.names, asked.task, asked.things) == (("sky", "cat"), "panoptic", (False, True))
    assert Classes.of(["sky"]).things is None and Expressions.of([]).texts == ()


def test_one_text_is_no_list() -> None:
    """It would be taken for its letters."""
    with pytest.raises(InputError, match="expected a list of texts, got one text: 'the cup'"):
        Expressions.of("the cup")
    with pytest.raises(InputError, match="expected a list of names, got one text: 'cup'"):
        Classes.of("cup")


def test_a_class_that_stands_twice_is_refused() -> None:
    with pytest.raises(InputError, match="the class list holds cup, spoon more than once"):
        Classes.of(["spoon", "cup", "spoon", "cup", "a saucer"])


def test_every_class_has_one_thing_flag() -> None:
    with pytest.raises(InputError, match="2 class names but 1 thing flags"):
        Classes.of(["sky", "cat"], things=[True])


def test_a_question_is_greedy_unless_told_otherwise() -> None:
    assert (Question("What?").sampling, Question("What?").max_tokens, Question("What?").task) == (GREEDY, None, None)


@pytest.mark.parametrize("request_", [Expressions(("a",)), Classes(("a",)), Regions(((1.0, 2.0),)), Question("a")])
def test_requests_do_not_change_and_can_be_told_apart(request_: object) -> None:
    """Masks aside: arrays have no equality of their own, so regions are compared by points and boxes."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        request_.task = "other"  # type: ignore[attr-defined]
    assert dataclasses.replace(request_, task="other") != request_  # type: ignore[type-var]


def test_regions_hold_any_mixture() -> None:
    mask = np.zeros((4, 6), bool)
    asked = Regions(points_xy=((1.0, 2.0),), boxes_xyxy=((0.0, 0.0, 2.0, 2.0),), masks=(mask,))
    assert asked == Regions(points_xy=((1.0, 2.0),), boxes_xyxy=((0.0, 0.0, 2.0, 2.0),))
    assert asked.masks[0] is mask
