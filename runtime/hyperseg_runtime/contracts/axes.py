"""Axes of a tensor: a size, a name whose size the call decides, or an expression of names.

An expression is written as it reads: `ceil(height / 8)`, `height * width`, `2 * words + 1`. Division stands inside
`ceil` or `floor` only and by a whole number above 0, so every expression gives a size.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache

Axis = int | str

LONGEST = 100
"""Characters of an expression: what nests deeper than a parser goes is none."""


@cache
def names_in(axis: Axis) -> tuple[str, ...]:
    """The names whose sizes decide this axis, each once. Raises ValueError for what is no axis."""
    if isinstance(axis, int):
        return ()
    return tuple(dict.fromkeys(_names(_parsed(axis))))


@cache
def is_name(axis: Axis) -> bool:
    return isinstance(axis, str) and names_in(axis) == (axis,)


def size_of(axis: Axis, sizes: Mapping[str, int]) -> int:
    """The size of an axis where each name has the given size. Raises KeyError for a name without one."""
    return axis if isinstance(axis, int) else _value(_parsed(axis), sizes)


@cache
def _parsed(axis: str) -> ast.expr:
    if len(axis) > LONGEST or not axis.isascii():
        raise ValueError(f"axis {axis[:LONGEST]!r}: expected at most {LONGEST} ASCII characters, got {len(axis)}")
    try:
        node = ast.parse(axis, mode="eval").body
    except (SyntaxError, ValueError, MemoryError) as error:  # a syntax error, a null character, too many parentheses
        raise ValueError(f"axis {axis!r} cannot be read") from error
    _check(node, axis)
    return node


def _check(node: ast.expr, axis: str) -> None:
    match node:
        case ast.Name():
            return
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult(), right=right):
            _check(left, axis)
            _check(right, axis)
        case ast.Call(
            func=ast.Name(id="ceil" | "floor"),
            args=[ast.BinOp(left=left, op=ast.Div(), right=ast.Constant(value=int(divisor)))],
            keywords=[],
        ) if divisor > 0 and not isinstance(divisor, bool):
            _check(left, axis)
        case _:
            raise ValueError(f"axis {axis!r}: expected sizes, names, +, -, *, ceil(a / 8) or floor(a / 8)")


def _names(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Name(id=name):
            yield name
        case ast.BinOp(left=left, right=right) | ast.Call(args=[ast.BinOp(left=left, right=right)]):
            yield from _names(left)
            yield from _names(right)


def _value(node: ast.expr, sizes: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name):
            return sizes[name]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _value(left, sizes) + _value(right, sizes)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _value(left, sizes) - _value(right, sizes)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _value(left, sizes) * _value(right, sizes)
        case ast.Call(func=ast.Name(id="ceil"), args=[ast.BinOp(left=left, right=right)]):
            return -(-_value(left, sizes) // _value(right, sizes))
        case ast.Call(args=[ast.BinOp(left=left, right=right)]):
            return _value(left, sizes) // _value(right, sizes)
    raise AssertionError("checked when it was parsed")
