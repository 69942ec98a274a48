"""PyTorch with the face of a backend, so that the runtime's own code drives the modules that graphs came from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from hyperseg_export.model import SourceModel
from hyperseg_export.onnx.writer import TORCH_DTYPES
from hyperseg_export.opening import open_checkpoint
from hyperseg_export.parity.bundle import module_of
from hyperseg_export.precision.typed import choose_precisions, typed_model
from hyperseg_runtime.backends.base import Buffer, Graph
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec, TensorSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import InputError

Prepare = Callable[[nn.Module], Callable[..., Any]]


@dataclass(frozen=True)
class TorchBuffer:
    """A tensor where the backend's modules are."""

    tensor: Tensor

    @property
    def dtype(self) -> DType:
        return DType(str(self.tensor.dtype).removeprefix("torch."))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    def to_host(self) -> np.ndarray:
        found: np.ndarray = (self.tensor.float() if self.tensor.dtype is torch.bfloat16 else self.tensor).cpu().numpy()
        return found


class TorchGraph:
    """A module called as a graph. Caches come back as new tensors, which take the place of the old ones' values."""

    def __init__(self, spec: GraphSpec, call: Callable[..., Any]) -> None:
        self.spec = spec
        self._call = call

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        self.spec.check_inputs(inputs)
        given = {name: _tensor(inputs[name]) for name in self.spec.input_names()}
        with torch.inference_mode():
            made = self._call(*given.values())
            tensors = (made,) if isinstance(made, Tensor) else made
            outputs: dict[str, Buffer] = {}
            for name, tensor in zip(self.spec.output_names(), tensors, strict=True):
                source = self.spec.in_place.get(name)
                if source is not None:
                    given[source].copy_(tensor)
                outputs[name] = TorchBuffer(tensor) if source is None else inputs[source]
        return outputs


class TorchDeviceGraph(TorchGraph):
    """On a GPU: calls come back while they are under way."""

    def wait(self) -> None:
        """Let the host wait for all calls so far."""
        torch.cuda.synchronize()


class TorchBackend:
    """A model's modules in the bundle's number formats: on a GPU where torch has one, else on the CPU.

    `prepare` makes of a module what is called. Images and the readout of masks are left to the host.
    """

    precisions = frozenset(Precision)
    token_step = slot_step = 1
    on_device = images_on_device = False

    def __init__(self, name: str, model: SourceModel, prepare: Prepare, threads: int | None) -> None:
        self.name = name
        self._model = model
        self._prepare = prepare
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        if threads is not None:
            torch.set_num_threads(threads)

    def open(self, spec: GraphSpec, path: Path) -> Graph:
        module = module_of(self._model, spec.name).eval().to(self._device)
        kind = TorchDeviceGraph if self._device == "cuda" else TorchGraph
        return kind(spec, self._prepare(module))

    def chained(self, first: Graph, second: Graph) -> None:
        """Nothing is recorded."""

    def upload(self, array: np.ndarray) -> TorchBuffer:
        return TorchBuffer(torch.tensor(array, device=self._device))

    def zeros(self, spec: TensorSpec, sizes: Mapping[str, int]) -> TorchBuffer:
        return TorchBuffer(torch.zeros(spec.shape(sizes), dtype=TORCH_DTYPES[spec.dtype], device=self._device))

    def copy_rows(self, target: Buffer, batch: int, start: int, source: Buffer, source_batch: int) -> None:
        rows = _tensor(source)[source_batch]
        with torch.inference_mode():
            _tensor(target)[batch, start : start + len(rows)] = rows

    def to_host(self, buffers: Sequence[Buffer]) -> list[np.ndarray]:
        return [buffer.to_host() for buffer in buffers]

    def close(self) -> None:
        """Modules free their memory when the graphs are dropped; nothing else is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def eager(bundle: Bundle, checkpoint: Path, threads: int | None) -> TorchBackend:
    """The modules as they are."""
    return TorchBackend("torch-eager", _typed(bundle, checkpoint), lambda module: module, threads)


def compiled(bundle: Bundle, checkpoint: Path, threads: int | None) -> TorchBackend:
    """The modules through torch.compile; sizes that change are compiled as symbols once they have changed."""
    return TorchBackend("torch-compile", _typed(bundle, checkpoint), torch.compile, threads)


def _typed(bundle: Bundle, checkpoint: Path) -> SourceModel:
    """The checkpoint's model in the number formats of the bundle. Raises InputError where it is another one's."""
    opened = open_checkpoint(checkpoint)
    if opened.checkpoint.base.fingerprint() != bundle.manifest.provenance.checkpoint_sha256:
        raise InputError(f"{checkpoint} is not the checkpoint that {bundle.directory} was exported from")
    formats = {entry.spec.name: str(entry.precision) for entry in bundle.manifest.graphs}
    return typed_model(opened.model, choose_precisions(opened.model.specs, Precision.FP32, formats))


def _tensor(buffer: Buffer) -> Tensor:
    if not isinstance(buffer, TorchBuffer):
        raise InputError("not a buffer of this backend")
    return buffer.tensor
