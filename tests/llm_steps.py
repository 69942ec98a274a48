"""Calls of the tiny language model on any backend."""

from typing import Any

import numpy as np


def step(backend: Any, graph: Any, tokens: int, first: int, seed: int) -> dict[str, Any]:
    """Inputs of a call of the language model but for its caches."""
    spec = {tensor.name: tensor for tensor in graph.spec.inputs}
    width = spec["inputs_embeds"].axes[2]
    embeds = np.random.default_rng(seed).standard_normal((1, tokens, width)).astype(np.float32)
    attended = np.zeros((1, tokens, 2, 2), np.int64)
    attended[0, :, 0, 1] = 1 + np.arange(first, first + tokens)
    return {
        "inputs_embeds": backend.upload(embeds),
        "position_ids": backend.upload(np.arange(first, first + tokens, dtype=np.int64)[None]),
        "attended_slots": backend.upload(attended),
        "slot_numbers": backend.upload(np.arange(24, dtype=np.int64)),
        "write_indices": backend.upload(np.array([first], np.int64)),
    }


def new_caches(backend: Any, graph: Any) -> dict[str, Any]:
    spec = {tensor.name: tensor for tensor in graph.spec.inputs}
    return {name: backend.zeros(spec[name], {"batch": 1}) for name in graph.spec.in_place.values()}


def read(backend: Any, graph: Any, calls: list[tuple[int, int]]) -> list[np.ndarray]:
    """Hidden states of one call after the other on the same caches, and the caches at the end."""
    caches = new_caches(backend, graph)
    made = []
    for seed, (tokens, first) in enumerate(calls):
        outputs = graph.run({**step(backend, graph, tokens, first, seed), **caches})
        assert all(outputs[name] is caches[source] for name, source in graph.spec.in_place.items())
        made.append(outputs["hidden_states"].to_host())
    return [*made, *(cache.to_host() for cache in caches.values())]


CALLS = [(9, 0), *((1, row) for row in range(9, 15)), (3, 15), (9, 0)]
"""A prompt, single tokens, a suffix, and the first prompt again."""


def scored(backend: Any, hidden_states: np.ndarray) -> dict[str, Any]:
    """Inputs of the language head: the last row of each prompt."""
    last = np.full(len(hidden_states), hidden_states.shape[1] - 1, np.int64)
    return {"hidden_states": backend.upload(hidden_states), "scored_rows": backend.upload(last)}
