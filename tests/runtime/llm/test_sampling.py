"""Choosing tokens: greedy, temperature, nucleus, seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.errors import InputError
from hyperseg_runtime.llm.sampling import GREEDY, Sampling, next_token

LOGITS = np.log(np.array([0.1, 0.5, 0.15, 0.25], np.float32))
FEW_PERCENT = 0.02  # 20,000 draws: three standard deviations are 0.011


def shares(logits: np.ndarray, sampling: Sampling, draws: int = 20_000) -> np.ndarray:
    generator = sampling.generator()
    chosen = [next_token(logits, sampling, generator) for _ in range(draws)]
    return np.bincount(chosen, minlength=len(logits)) / draws


def test_greedy_takes_the_likeliest_and_the_first_of_equals() -> None:
    assert next_token(LOGITS, GREEDY, GREEDY.generator()) == 1
    assert next_token(np.array([0, 3, 3], np.float32), GREEDY, GREEDY.generator()) == 1


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(1.0, seed=0), [0.1, 0.5, 0.15, 0.25]),
        (Sampling(0.5, seed=0), np.square([0.1, 0.5, 0.15, 0.25]) / np.square([0.1, 0.5, 0.15, 0.25]).sum()),
        (Sampling(1.0, 0.7, seed=0), [0, 2 / 3, 0, 1 / 3]),
        (Sampling(1.0, 0.45, seed=0), [0, 1, 0, 0]),
        (Sampling(1.0, 0.8, seed=0), [0, 5 / 9, 1.5 / 9, 2.5 / 9]),
        (Sampling(1.0, 1e-9, seed=0), [0, 1, 0, 0]),
        (Sampling(1e-3, seed=0), [0, 1, 0, 0]),
    ],
    ids=str,
)
def test_tokens_come_as_often_as_they_should(sampling: Sampling, expected: list[float]) -> None:
    found = shares(LOGITS, sampling)
    assert np.abs(found - expected).max() < FEW_PERCENT
    assert not found[np.asarray(expected) == 0].any()


def test_the_seed_decides() -> None:
    def draw(seed: int | None) -> list[int]:
        generator = Sampling(1.0, seed=seed).generator()
        return [next_token(LOGITS, Sampling(1.0), generator) for _ in range(64)]

    assert draw(5) == draw(5) != draw(6)
    assert draw(None) != draw(None)


@settings(deadline=None, max_examples=100)
@given(
    logits=st.lists(st.one_of(st.floats(-1e4, 1e4, width=32), st.just(-np.inf)), min_size=1, max_size=30),
    temperature=st.floats(0, 100),
    top_p=st.floats(0, 1, exclude_min=True),
)
def test_what_is_masked_is_never_chosen(logits: list[float], temperature: float, top_p: float) -> None:
    values = np.array([*logits, 0.0], np.float32)
    sampling = Sampling(temperature, top_p, seed=1)
    assert np.isfinite(values[next_token(values, sampling, sampling.generator())])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": -0.1}, r"temperature is -0.1, expected 0 \(greedy\) to 100"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0, expected more than 0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"seed": -1}, "seed is -1"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Sampling(**change)  # type: ignore[arg-type]
