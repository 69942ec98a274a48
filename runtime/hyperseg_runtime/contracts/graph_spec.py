"""The contract of a graph, written once and read by exporter, lint, runtime, engine builder and tests."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Protocol, Self

from pydantic import BaseModel, ConfigDict, model_validator

from hyperseg_runtime.errors import InputError


class DType(StrEnum):
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT64 = "int64"
    BOOL = "bool"

    @property
    def itemsize(self) -> int:
        """Bytes of one element; NumPy has no bfloat16 to ask."""
        return {DType.FLOAT16: 2, DType.BFLOAT16: 2, DType.INT64: 8, DType.BOOL: 1}.get(self, 4)


class Element(Protocol):
    """The type of a tensor's elements, a DType or NumPy's; `str` gives the DType's name."""

    @property
    def itemsize(self) -> int: ...


class Reuse(StrEnum):
    """What a result of the graph depends on, and so how long it stays valid."""

    IMAGE = "image"
    PROMPT = "image and prompt"
    TOKEN = "every token"


class Shaped(Protocol):
    """An array or buffer, as far as a contract looks at it."""

    @property
    def dtype(self) -> Element: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


class _Contract(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AxisRange(_Contract):
    """Sizes a named axis may take; `typical` is what an engine is tuned for."""

    minimum: int
    typical: int
    maximum: int

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 1 <= self.minimum <= self.typical <= self.maximum:
            raise ValueError(f"need 1 <= minimum <= typical <= maximum, got {self!r}")
        return self


class TensorSpec(_Contract):
    """One input or output. An axis is a size, or the name of an axis whose size the call decides."""

    name: str
    dtype: DType
    axes: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({', '.join(map(str, self.axes))})"


class GraphSpec(_Contract):
    """Inputs and outputs in call order, and what a builder has to know about them."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    axis_ranges: Mapping[str, AxisRange]
    reuse: Reuse
    custom_ops: tuple[str, ...] = ()
    in_place: Mapping[str, str] = {}
    """Output name -> input name of tensors that share memory (key/value caches)."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [tensor.name for tensor in (*self.inputs, *self.outputs)]
        if len(set(names)) != len(names):
            raise ValueError(f"graph {self.name}: a tensor name is used twice")
        used = {axis for t in (*self.inputs, *self.outputs) for axis in t.axes if isinstance(axis, str)}
        if used != set(self.axis_ranges):
            raise ValueError(f"graph {self.name}: axes {sorted(used)} but ranges {sorted(self.axis_ranges)}")
        by_name = {tensor.name: tensor for tensor in (*self.inputs, *self.outputs)}
        if len(set(self.in_place.values())) != len(self.in_place):
            raise ValueError(f"graph {self.name}: two outputs share the memory of one input")
        for output, source in self.in_place.items():
            if output not in self.output_names() or source not in self.input_names():
                raise ValueError(f"graph {self.name}: in_place maps outputs to inputs, not {output} to {source}")
            if by_name[output].axes != by_name[source].axes or by_name[output].dtype != by_name[source].dtype:
                raise ValueError(f"graph {self.name}: {output} cannot share memory with {source}")
        return self

    def input_names(self) -> list[str]:
        return [tensor.name for tensor in self.inputs]

    def output_names(self) -> list[str]:
        return [tensor.name for tensor in self.outputs]

    def check_inputs(self, arrays: Mapping[str, Shaped]) -> None:
        """Raise InputError unless `arrays` are exactly this graph's inputs, with one size per named axis."""
        problems = list(self._problems(arrays))
        if problems:
            raise InputError(f"graph {self.name} cannot run:\n  " + "\n  ".join(problems))

    def _problems(self, arrays: Mapping[str, Shaped]) -> Iterator[str]:
        for name in sorted(set(arrays) - set(self.input_names())):
            yield f"{name} is not an input; inputs are {', '.join(self.input_names())}"
        sizes: dict[str, tuple[int, str]] = {}
        for tensor in self.inputs:
            if tensor.name not in arrays:
                yield f"{tensor} is missing"
                continue
            array = arrays[tensor.name]
            if str(array.dtype) != tensor.dtype or not _shape_fits(array.shape, tensor.axes):
                yield f"expected {tensor}, got {array.dtype} {array.shape}"
                continue
            for axis, size in zip(tensor.axes, array.shape, strict=True):
                if not isinstance(axis, str):
                    continue
                first = sizes.setdefault(axis, (size, tensor.name))
                allowed = self.axis_ranges[axis]
                if first[0] != size:
                    yield f"axis {axis} is {first[0]} in {first[1]} but {size} in {tensor.name}"
                elif not allowed.minimum <= size <= allowed.maximum:
                    yield f"axis {axis} of {tensor.name} is {size}, allowed {allowed.minimum}..{allowed.maximum}"


def _shape_fits(shape: tuple[int, ...], axes: tuple[int | str, ...]) -> bool:
    return len(shape) == len(axes) and all(
        isinstance(axis, str) or axis == size for axis, size in zip(axes, shape, strict=True)
    )
