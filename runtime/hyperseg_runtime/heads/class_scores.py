"""Class logits of queries -> how probable each class is (Mask2Former, arXiv 2112.01527; PSALM, arXiv 2403.14598).

The last column is "none of them". It takes part in the softmax and is never an answer.
"""

from collections.abc import Sequence

import numpy as np


def class_probabilities(class_logits: np.ndarray) -> np.ndarray:
    """Logits (Q, C + 1) -> softmax over the last axis, (Q, C + 1) float32."""
    shifted = class_logits.astype(np.float32) - class_logits.max(-1, keepdims=True)
    grown = np.exp(shifted)
    found: np.ndarray = grown / grown.sum(-1, keepdims=True)
    return found


def without_synonyms(name_logits: np.ndarray, class_of: Sequence[int]) -> np.ndarray:
    """Logits (Q, N + 1) of N names and "none of them" -> (Q, C + 1) of the classes that they name.

    A class is as probable as its likeliest name: the largest logit, taken before the softmax so that a class with many
    names does not win by their number (ODISE, arXiv 2303.04803, does the same with its ensemble of names). `class_of`
    says for each name which class it is of; every class from 0 to the largest has one.
    """
    owners = np.asarray(class_of)
    classes = int(owners.max()) + 1 if len(owners) else 0
    if len(owners) != name_logits.shape[1] - 1 or set(owners.tolist()) != set(range(classes)):
        raise ValueError(f"{name_logits.shape[1] - 1} names for classes {sorted(set(owners.tolist()))}")
    best = [name_logits[:, :-1][:, owners == index].max(1, keepdims=True) for index in range(classes)]
    return np.concatenate([*best, name_logits[:, -1:]], axis=1)
