"""Choosing the next token."""

from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """Greedy at temperature 0, else softmax(logits / temperature) cut to a nucleus (arXiv 1904.09751).

    top_p   probability mass of the nucleus: the smallest set of likeliest tokens that reaches it
    seed    same seed, same answer; None draws a new one each time
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 100:
            raise InputError(f"temperature is {self.temperature}, expected 0 (greedy) to 100")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}, expected more than 0 and at most 1")
        if self.seed is not None and self.seed < 0:
            raise InputError(f"seed is {self.seed}, expected 0 or more")

    def generator(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


GREEDY = Sampling()


def next_token(logits: np.ndarray, sampling: Sampling, generator: np.random.Generator) -> int:
    """An id for logits (V,) float32; -inf is never chosen."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    below = logits.astype(np.float64) - logits.max()
    with np.errstate(over="ignore"):  # a temperature near 0 may give -inf: weight 0, as it should
        weights = np.exp(below / sampling.temperature)
    likeliest = np.argsort(-weights, kind="stable")
    mass = np.cumsum(weights[likeliest]) / weights.sum()
    nucleus = likeliest[: int(np.searchsorted(mass, sampling.top_p)) + 1]
    nucleus = nucleus[weights[nucleus] > 0]
    return int(generator.choice(nucleus, p=weights[nucleus] / weights[nucleus].sum()))
