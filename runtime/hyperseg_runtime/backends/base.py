"""What a stage needs from an engine library: open a graph, hold buffers, run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from hyperseg_runtime.contracts.graph_spec import Element, GraphSpec, TensorSpec
from hyperseg_runtime.contracts.precision import Precision


class Buffer(Protocol):
    """A tensor where the backend keeps its tensors (host memory, a GPU)."""

    @property
    def dtype(self) -> Element: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def to_host(self) -> np.ndarray:
        """The values on the host, bfloat16 as float32; read-only, may share memory with the buffer."""
        ...


class Graph(Protocol):
    """One opened graph."""

    spec: GraphSpec

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        """All outputs for these inputs. The work may still be under way; `to_host` waits for it.

        Raises InputError where names, types, shapes or axis ranges differ from `spec`. An output listed
        in `spec.in_place` is the input buffer itself, overwritten; other outputs are new buffers.
        """
        ...


class Backend(Protocol):
    """An engine library bound to one place of computation. Close it, or use it as a context manager."""

    name: str
    precisions: frozenset[Precision]
    """What graphs it can run."""
    token_step: int
    """Calls of a language model are filled up to a multiple of so many rows, 1 leaves them as they are: for backends
    where a call of known shapes costs less than a shorter one of new shapes.
    """
    slot_step: int
    """Attention looks at the slots of a key/value cache that are in use, up to a multiple of so many; for the same."""
    on_device: bool
    """Whether the host has to wait and copy for what a buffer holds: then as little as possible is brought there."""

    images_on_device: bool
    """Whether that is so for the graphs that see an image: then its pixels are brought there as they are."""

    def open(self, spec: GraphSpec, path: Path) -> Graph: ...

    def chained(self, first: Graph, second: Graph) -> Graph | None:
        """Both as one graph, `second` on what `first` makes, where that is one launch; else None.

        Its outputs are those of `second` and the caches of `first`.
        """
        ...

    def upload(self, array: np.ndarray) -> Buffer:
        """A buffer with these values; may share memory with `array`."""
        ...

    def zeros(self, spec: TensorSpec, sizes: Mapping[str, int]) -> Buffer:
        """A zeroed buffer for `spec` with its named axes of the given sizes."""
        ...

    def copy_rows(self, target: Buffer, batch: int, start: int, source: Buffer, source_batch: int) -> None:
        """target[batch, start : start + n] = source[source_batch], n = source.shape[1]."""
        ...

    def to_host(self, buffers: Sequence[Buffer]) -> list[np.ndarray]:
        """What `Buffer.to_host` gives for each, after waiting once for all."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
