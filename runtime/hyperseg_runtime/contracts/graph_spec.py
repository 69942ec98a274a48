"""The contract of a graph, written once and read by exporter, lint, runtime, engine builder and tests."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import Protocol, Self

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

from hyperseg_runtime.contracts.axes import Axis, is_name, names_in, size_of
from hyperseg_runtime.errors import InputError


class DType(StrEnum):
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT8 = "float8e4m3fn"
    INT64 = "int64"
    INT8 = "int8"
    UINT8 = "uint8"
    INT4 = "int4"
    BOOL = "bool"

    @property
    def bits(self) -> int:
        """Of one element; NumPy has neither bfloat16, float8 nor int4 to ask."""
        return BITS[self]

    @property
    def itemsize(self) -> int:
        """Bytes of one element, rounded up: two int4 share a byte where they are stored."""
        return -(-self.bits // 8)


BITS = {
    DType.FLOAT32: 32, DType.FLOAT16: 16, DType.BFLOAT16: 16, DType.FLOAT8: 8,
    DType.INT64: 64, DType.INT8: 8, DType.UINT8: 8, DType.INT4: 4, DType.BOOL: 8,
}  # fmt: skip


class Element(Protocol):
    """The type of a tensor's elements, a DType or NumPy's; `str` gives the DType's name."""

    @property
    def itemsize(self) -> int: ...

    def __hash__(self) -> int: ...


class Reuse(StrEnum):
    """What a result of the graph depends on, and so how long it stays valid."""

    PIXELS = "pixels"
    """Of an image, for its graphs alone: they are run once, so nothing keeps it."""
    IMAGE = "image"
    TEXT = "text"
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
    """Sizes a named axis may take, multiples of `step`; `typical` is what an engine is tuned for."""

    minimum: int
    typical: int
    maximum: int
    step: int = 1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 1 <= self.minimum <= self.typical <= self.maximum:
            raise ValueError(f"need 1 <= minimum <= typical <= maximum, got {self!r}")
        if self.step < 1 or any(size % self.step for size in (self.minimum, self.typical, self.maximum)):
            raise ValueError(f"need sizes that are multiples of a step of 1 or more, got {self!r}")
        return self

    @model_serializer(mode="wrap")
    def _brief(self, written: SerializerFunctionWrapHandler) -> dict[str, int]:
        """A step of 1 goes without saying, as in bundles from before there were steps."""
        content: dict[str, int] = written(self)
        return {name: size for name, size in content.items() if (name, size) != ("step", 1)}

    def stand_in(self, rank: int) -> int:
        """A size that may be taken: the first one from the `rank`-th number on, counted from `minimum`."""
        return -(-(self.minimum - 1 + rank) // self.step) * self.step


class TensorSpec(_Contract):
    """One input or output. An axis is a size, a name whose size the call decides, or derived from such names."""

    name: str
    dtype: DType
    axes: tuple[Axis, ...]

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape where the named axes have these sizes."""
        return tuple(size_of(axis, sizes) for axis in self.axes)

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
    exact: bool = False
    """Stays float32 in every preset: it decides about pixels and has no weights that could be smaller."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [tensor.name for tensor in (*self.inputs, *self.outputs)]
        if len(set(names)) != len(names):
            raise ValueError(f"graph {self.name}: a tensor name is used twice")
        used = {name for t in (*self.inputs, *self.outputs) for axis in t.axes for name in names_in(axis)}
        if used != set(self.axis_ranges):
            raise ValueError(f"graph {self.name}: axes {sorted(used)} but ranges {sorted(self.axis_ranges)}")
        decided = {axis for tensor in self.inputs for axis in tensor.axes if is_name(axis)}
        if decided != used:
            raise ValueError(f"graph {self.name}: no input decides the axes {sorted(used - decided)}")
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

    def sizes(self, inputs: Mapping[str, Shaped]) -> dict[str, int]:
        """The size of each named axis in a call with these inputs."""
        axes = ((a, n) for tensor in self.inputs for a, n in zip(tensor.axes, inputs[tensor.name].shape, strict=True))
        return {axis: size for axis, size in axes if isinstance(axis, str) and is_name(axis)}

    def check_inputs(self, arrays: Mapping[str, Shaped]) -> None:
        """Raise InputError unless `arrays` are exactly this graph's inputs, with one size per named axis."""
        problems = list(self._problems(arrays))
        if problems:
            raise InputError(f"graph {self.name} cannot run:\n  " + "\n  ".join(problems))

    def _problems(self, arrays: Mapping[str, Shaped]) -> Iterator[str]:
        for name in sorted(set(arrays) - set(self.input_names())):
            yield f"{name} is not an input; inputs are {', '.join(self.input_names())}"
        fitting = []
        for tensor in self.inputs:
            if tensor.name not in arrays:
                yield f"{tensor} is missing"
                continue
            array = arrays[tensor.name]
            if _type_name(array.dtype) != tensor.dtype or not _shape_fits(array.shape, tensor.axes):
                yield f"expected {tensor}, got {array.dtype} {array.shape}"
            else:
                fitting.append((tensor, array.shape))
        yield from self._size_problems(fitting)

    def _size_problems(self, shapes: Sequence[tuple[TensorSpec, tuple[int, ...]]]) -> Iterator[str]:
        """Named axes have one size each, within their range; derived axes follow from them."""
        axes = [
            (tensor.name, axis, size) for tensor, shape in shapes for axis, size in zip(tensor.axes, shape, strict=True)
        ]
        sizes: dict[str, int] = {}
        for tensor_name, axis, size in axes:
            if not isinstance(axis, str) or not is_name(axis):
                continue
            if sizes.setdefault(axis, size) != size:
                first = next(name for name, other, _ in axes if other == axis)
                yield f"axis {axis} is {sizes[axis]} in {first} but {size} in {tensor_name}"
            elif not self.axis_ranges[axis].minimum <= size <= self.axis_ranges[axis].maximum:
                allowed = self.axis_ranges[axis]
                yield f"axis {axis} of {tensor_name} is {size}, allowed {allowed.minimum}..{allowed.maximum}"
            elif size % self.axis_ranges[axis].step:
                yield f"axis {axis} of {tensor_name} is {size}, allowed are multiples of {self.axis_ranges[axis].step}"
        for tensor_name, axis, size in axes:
            if is_name(axis) or isinstance(axis, int) or not sizes.keys() >= set(names_in(axis)):
                continue
            if size_of(axis, sizes) != size:
                yield f"axis {axis} of {tensor_name} is {size}, expected {size_of(axis, sizes)}"


@cache
def _type_name(dtype: object) -> str:
    """numpy puts the name of a type together anew each time, for every tensor of every token."""
    return str(dtype)


def _shape_fits(shape: tuple[int, ...], axes: tuple[Axis, ...]) -> bool:
    return len(shape) == len(axes) and all(
        isinstance(axis, str) or axis == size for axis, size in zip(axes, shape, strict=True)
    )
