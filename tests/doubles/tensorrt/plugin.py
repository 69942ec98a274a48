"""`tensorrt.plugin` of the double: what our sources use of it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from double_plugins import Size as ShapeExpr
from double_plugins import TensorDesc, ceiling, define

__all__ = [
    "AutoTuneCombination",
    "KernelLaunchParams",
    "ShapeExpr",
    "SymExprs",
    "SymInt32",
    "SymIntExprs",
    "TensorDesc",
]

SHORT = {"FP32": "FLOAT", "FP16": "HALF"}
SymInt32 = ShapeExpr
SymExprs = list
cdiv = ceiling


def register(plugin_id: str) -> Callable[..., Any]:
    return partial(define, plugin_id, "describe")


def autotune(plugin_id: str) -> Callable[..., Any]:
    return partial(define, plugin_id, "types")


def aot_impl(plugin_id: str) -> Callable[..., Any]:
    return partial(define, plugin_id, "implement")


def from_shape_expr(shape_expr: Any, dtype: Any) -> TensorDesc:
    return TensorDesc(dtype, list(shape_expr))


class SymIntExprs(list):  # type: ignore[type-arg]
    @classmethod
    def from_tuple(cls, numbers: Any) -> "SymIntExprs":
        return cls(numbers)


class KernelLaunchParams:
    def __init__(self, grid_x: Any = 1, block_x: Any = 1, shared_mem: Any = 0) -> None:
        self.grid_x, self.block_x, self.shared_mem = grid_x, block_x, shared_mem


class AutoTuneCombination:
    """Alternatives of each tensor; those of one position go together."""

    def __init__(self, types: str, layout: str) -> None:
        assert layout == "LINEAR"
        self._types = [[SHORT.get(kind, kind) for kind in one.split("|")] for one in types.split(", ")]

    def types(self) -> set[tuple[str, ...]]:
        count = max(map(len, self._types))
        return {tuple(kinds[index % len(kinds)] for kinds in self._types) for index in range(count)}
