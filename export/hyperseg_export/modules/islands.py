"""Modules that must stay float32 in graphs of lower precision say so themselves, each with its reason.

class MaskLogits(nn.Module):
    island = Island("their sign decides about pixels", stays_wide=True)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from hyperseg_runtime.contracts.precision import Precision

LOW = frozenset({Precision.FP16, Precision.BF16})


@dataclass(frozen=True)
class Island:
    """Why a module computes in float32, and in graphs of which precisions."""

    reason: str
    precisions: frozenset[Precision] = LOW
    stays_wide: bool = False
    """Its outputs are not cast back."""
    written_as: Callable[[Any], nn.Module] | None = None
    """Another module that does the same, made from the one whose place it takes."""


def island_of(module: nn.Module, precision: Precision) -> Island | None:
    """What `module` says of itself, if it holds for graphs of this precision."""
    island = getattr(type(module), "island", None)
    return island if isinstance(island, Island) and precision in island.precisions else None
