"""The GPU kernels' text compiled for the host and launched warp by warp (see host_launch.cpp)."""

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from hyperseg_kernels import native
from hyperseg_kernels.cuda import source as cuda
from hyperseg_kernels.cuda.source import ValueType
from hyperseg_kernels.deformable_attention.cuda_source import MAX_LEVELS, SOURCES, Layer

SHIM = Path(__file__).parent / "kernels" / "deformable_attention" / "host_launch.cpp"
TORCH_TYPES = {
    ValueType.FLOAT32: torch.float32,
    ValueType.FLOAT16: torch.float16,
    ValueType.BFLOAT16: torch.bfloat16,
}


class HostLevels(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_int),
        *((name, ctypes.c_int * MAX_LEVELS) for name in ("height", "width", "first_row")),
    )


class HostLayer(ctypes.Structure):
    _fields_ = (*((name, ctypes.c_int) for name in ("heads", "channels", "points")), ("levels", HostLevels))


class HostKernels:
    """Both kernels on CPU tensors; outputs start as NaN, so a lane that does not run shows."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(native.build_library(SHIM, [cuda.SOURCES, SOURCES, SHIM.parent])))

    def given(self, layer: Layer, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        tensors = value, locations.float(), weights.float()
        return self._run("given", layer, weights.shape[1], (), tensors)

    def projected(self, layer: Layer, value: Tensor, references: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
        images, _, levels, size = references.shape
        strides = size, references[0].numel() if images > 1 else 0, size if levels > 1 else 0
        tensors = value, references.float(), offsets.to(value.dtype), logits.to(value.dtype)
        return self._run("projected", layer, logits.shape[1], strides, tensors)

    def _run(
        self, kind: str, layer: Layer, queries: int, numbers: tuple[int, ...], tensors: tuple[Tensor, ...]
    ) -> Tensor:
        value = tensors[0]
        value_type = next(name for name, dtype in TORCH_TYPES.items() if dtype == value.dtype)
        output = value.new_full((len(value), queries, layer.heads * layer.channels), torch.nan)
        aligned = [aligned_copy(tensor) for tensor in (*tensors, output)]
        lanes = layer.lanes(value_type, len(value), queries)
        pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in aligned]
        self.launch(kind, layer, value_type, [lanes, queries, *numbers], pointers)
        return aligned[-1]

    def launch(
        self, kind: str, layer: Layer, value_type: ValueType, numbers: list[int], pointers: list[ctypes.c_void_p]
    ) -> None:
        function = getattr(self._library, f"{kind}_{value_type}_{layer.lane_channels(value_type)}")
        function(ctypes.byref(host_layer(layer)), layer.sharers(value_type), *numbers, *pointers)


def aligned_copy(tensor: Tensor) -> Tensor:
    """Contiguous, and aligned for the widest load, as GPU memory is."""
    copy = tensor.clone(memory_format=torch.contiguous_format)
    assert copy.data_ptr() % 16 == 0
    return copy


def host_layer(layer: Layer) -> HostLayer:
    made = HostLayer(layer.heads, layer.channels, layer.points)
    made.levels.count = len(layer.level_shapes)
    first_row = 0
    for level, (height, width) in enumerate(layer.level_shapes):
        made.levels.height[level], made.levels.width[level] = height, width
        made.levels.first_row[level] = first_row
        first_row += height * width
    return made
