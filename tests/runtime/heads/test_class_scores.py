"""Probabilities of classes and of their synonyms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.heads.class_scores import class_probabilities, without_synonyms


def test_probabilities_add_up_and_do_not_overflow() -> None:
    found = class_probabilities(np.array([[1e4, 0, -1e4], [1, 1, 1]], np.float32))
    assert found.dtype == np.float32
    assert np.allclose(found, [[1, 0, 0], [1 / 3] * 3])


def test_a_class_is_as_likely_as_its_likeliest_name() -> None:
    logits = np.array([[1, 5, 2, 0], [4, 3, -1, 2]], np.float32)
    assert without_synonyms(logits, (0, 1, 0)).tolist() == [[2, 5, 0], [4, 3, 2]]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 4))
def test_the_order_of_names_does_not_matter(seed: int, names: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    owners = np.concatenate([np.arange(min(names, classes)), random.integers(0, min(names, classes), names)])
    logits = random.normal(0, 3, (4, len(owners) + 1)).astype(np.float32)
    order = random.permutation(len(owners))
    shuffled = np.concatenate([logits[:, :-1][:, order], logits[:, -1:]], axis=1)
    assert np.array_equal(without_synonyms(logits, owners), without_synonyms(shuffled, owners[order]))


def test_single_names_stay_as_they_are() -> None:
    logits = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    assert np.array_equal(without_synonyms(logits, range(4)), logits)


@pytest.mark.parametrize("owners", [(0, 1), (0, 1, 1, 2), (0, 2, 2)])
def test_names_and_classes_must_belong_together(owners: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="3 names for classes"):
        without_synonyms(np.zeros((1, 4), np.float32), owners)
