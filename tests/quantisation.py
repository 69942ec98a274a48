"""How tests quantise: with few samples, enough for what is tested there, not for what a recipe costs."""

from typing import Any

from hyperseg_bench.quality.datasets.registry import Choice
from hyperseg_export.quantization.quantize import QuantizeOptions

GATE_ITEMS, SAMPLES = 24, 4


def options(recipe: str, **others: Any) -> QuantizeOptions:
    usual = {"samples": SAMPLES, "budget": 5.0, "threads": 1}
    return QuantizeOptions(Choice("shapes", items=GATE_ITEMS), recipe, **{**usual, **others})
