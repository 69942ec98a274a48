"""From logits of tokens to logits of classes (hipie-spec 13.1)."""

from collections.abc import Sequence

import numpy as np

from hyperseg_runtime.families.hipie.options import HipieOptions

NOT_ALLOWED = np.float32(-9999)
"""Logit of a class that a query cannot be: its sigmoid is 0 in float32."""


def class_logits(word_logits: np.ndarray, tokens: np.ndarray, max_pool: bool) -> np.ndarray:
    """word_logits (Q, T) float32, tokens (K, T) bool, which of them are each class's -> (Q, K) float32.

    Every class has a token.
    """
    reduce = np.max if max_pool else np.mean
    columns = [reduce(word_logits[:, own], axis=1) for own in tokens]
    found: np.ndarray = np.stack(columns, axis=1).astype(np.float32)
    return found


def likeliest_names(logits: np.ndarray, class_of: Sequence[int]) -> np.ndarray:
    """A class is as likely as the likeliest of its names: (Q, names) -> (Q, K); `class_of` rises by 0 or 1."""
    found: np.ndarray = np.maximum.reduceat(logits, np.unique(class_of, return_index=True)[1], axis=1)
    return found


def of_proposals(logits: np.ndarray, things: Sequence[bool], options: HipieOptions) -> np.ndarray:
    """What queries of the first detector may be: things, or everything where there are none."""
    free = options.mode_free_inference or not any(things)
    return logits if free else np.where(np.asarray(things), logits, NOT_ALLOWED)


def of_vectors(logits: np.ndarray, things: Sequence[bool], options: HipieOptions) -> np.ndarray:
    """What queries of Mask DINO may be: stuff, or everything where an option says so."""
    free = options.mode_free_inference or options.bg_cls_agnostic or options.use_bg_for_pano
    return logits if free else np.where(np.asarray(things), NOT_ALLOWED, logits)


def map_probabilities(logits: np.ndarray, options: HipieOptions) -> np.ndarray:
    """How probable each class is where maps are merged, (Q, K) float32 (hipie-spec 13.3)."""
    plain = sigmoid_f32(logits)
    if not options.transform_eval:
        return plain
    scaled = plain / np.float32(options.pano_temp)
    grown = np.exp(scaled - scaled.max(-1, keepdims=True))
    found: np.ndarray = grown / grown.sum(-1, keepdims=True)
    return found


def sigmoid_f32(x: np.ndarray) -> np.ndarray:
    """In float32 without overflow; exactly 0 for NOT_ALLOWED."""
    small = np.exp(-np.abs(x.astype(np.float32)))
    value: np.ndarray = np.where(x >= 0, 1 / (1 + small), small / (1 + small))
    return value
