"""Plugins of TensorRT's double: the registry, which nodes the parser gives to it, kernels made ahead of time.

registry    A creator has a name, a version and a namespace, and is registered once (tensorrt/plugin/_lib.py 11.4).
parser      A node with the attribute plugin_namespace becomes a plugin where a creator of that op_type,
            plugin_version (or "1") and namespace is registered; else built-in importers come first, then the body in
            the file (onnx-tensorrt, ModelImporter.cpp, parseNode: isPluginNode).
ahead of    Sizes are asked twice, first of expressions whose values cannot be asked, then the kernel and its launch
time        (tensorrt/plugin/_plugin_class.py 11.4: get_output_data_types, get_output_shapes, get_launch_params).
            The plan holds the kernel and no creator: a runtime needs neither Python nor a library (NVIDIA/TensorRT,
            samples/python/quickly_deployable_plugins).
library     The plan names the creator, which the runtime asks the registry for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from double_names import TYPES, fault

Identity = tuple[str, str, str]
"""Name, version, namespace."""


class Size:
    """An expression of TensorRT's shape calculus: a number, one that only a call decides, or a fake one."""

    def __init__(self, value: "int | Size | None", fake: bool = False) -> None:
        self._value: int | None = value._value if isinstance(value, Size) else value
        self._fake = fake or (isinstance(value, Size) and value._fake)

    @property
    def is_constant(self) -> bool:
        self._require_real()
        return self._value is not None

    def constant_value(self) -> int:
        self._require_real()
        assert self._value is not None
        return self._value

    def _require_real(self) -> None:
        if self._fake:
            raise RuntimeError("Not accessible for fake 'ShapeExpr's. Check is_fake to determine accessibility.")

    def _with(self, other: "int | Size", compute: Callable[[int, int], int]) -> "Size":
        second = other if isinstance(other, Size) else Size(other)
        known = self._value is not None and second._value is not None
        return Size(compute(self._value, second._value) if known else None, self._fake or second._fake)

    def __mul__(self, other: "int | Size") -> "Size":
        return self._with(other, lambda a, b: a * b)

    __rmul__ = __mul__

    def __add__(self, other: "int | Size") -> "Size":
        return self._with(other, lambda a, b: a + b)

    def __floordiv__(self, other: "int | Size") -> "Size":
        return self._with(other, lambda a, b: a // b)


def ceiling(first: "int | Size", second: "int | Size") -> Size:
    return Size(first)._with(second, lambda a, b: -(-a // b))


@dataclass
class TensorDesc:
    dtype: Any
    shape_expr: Any


@dataclass
class Definition:
    """What decorators have said about one plugin."""

    describe: Callable[..., Any]
    types: Callable[..., Any] | None = None
    implement: Callable[..., Any] | None = None


CREATORS: dict[Identity, Definition | None] = {}
"""None: the creator came with a library."""


def define(identifier: str, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    namespace, name = identifier.split("::")
    key = (name, "1", namespace)
    if part == "describe":
        if key in CREATORS:
            raise ValueError(f"'{identifier}' is already defined")
        CREATORS[key] = Definition(function)
    else:
        setattr(CREATORS[key], part, function)
    return function


def load_creators(library: Path) -> None:
    """A library of the double is a text: namespace::name of a creator on each line."""
    for line in library.read_text().splitlines():
        namespace, name = line.split("::")
        CREATORS[name, "1", namespace] = None


def identity_of(node: onnx.NodeProto) -> Identity | None:
    """The registered creator that the parser takes for a node."""
    said = {a.name: a.s.decode() for a in node.attribute if a.name in ("plugin_namespace", "plugin_version")}
    key = (node.op_type, said.get("plugin_version", "1"), said.get("plugin_namespace", ""))
    return key if "plugin_namespace" in said and key in CREATORS and fault() != "body instead" else None


def compile_kernel(node: onnx.NodeProto, key: Identity, model: onnx.ModelProto) -> str | None:
    """Do what a build does with a plugin made ahead of time; the name of its kernel, None for those of libraries."""
    definition = CREATORS[key]
    if definition is None:
        return None
    values = {v.name: v.type.tensor_type for v in (*model.graph.input, *model.graph.value_info)}
    known = {t.name: (t.data_type, list(t.dims)) for t in model.graph.initializer}
    known |= {name: (t.elem_type, [dim.dim_value or None for dim in t.shape.dim]) for name, t in values.items()}
    kinds = [TYPES[known[name][0]] for name in node.input]
    shapes = [known[name][1] for name in node.input]
    attributes = {a.name: np.array(a.ints, np.int32) for a in node.attribute if a.type == onnx.AttributeProto.INTS}

    def given(fake: bool) -> list[TensorDesc]:
        return [
            TensorDesc(kind, [Size(None if fake else size, fake) for size in shape])
            for kind, shape in zip(kinds, shapes, strict=True)
        ]

    definition.describe(*given(True), **attributes)
    inputs = given(False)
    described = definition.describe(*inputs, **attributes)
    outputs = described if isinstance(described, tuple) else (described,)
    chosen = tuple(kind.name for kind in (*kinds, *(output.dtype for output in outputs)))
    assert definition.types is not None and definition.implement is not None
    assert any(chosen in one.types() for one in definition.types(*inputs, outputs)), f"no kernel for {chosen}"
    name, image, _, _ = definition.implement(*inputs, *attributes.values(), outputs, 0)
    assert image.startswith(b"\x7fELF") and name.encode() in image
    return str(name)
