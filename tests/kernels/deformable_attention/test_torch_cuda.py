"""The CUDA path of the torch ops on a stand-in for the GPU: its lanes, run on the host with the same arguments."""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from deformable_attention_host import TORCH_TYPES, HostKernels
from deformable_attention_support import PROJECTED, ROUNDED, flat, random_call
from hyperseg_kernels import native
from hyperseg_kernels.cuda import driver as cuda_driver
from hyperseg_kernels.cuda import nvrtc, torch_launch
from hyperseg_kernels.cuda.source import Grid, ValueType
from hyperseg_kernels.deformable_attention import torch_cuda, torch_op
from hyperseg_kernels.deformable_attention.cuda_source import Layer

SHAPES = [(4, 5), (1, 1), (9, 11)]
STREAM = 77


@dataclass
class HostLaunch:
    """Takes what a launch on a GPU takes and runs every lane of the grid that has work."""

    host_kernels: HostKernels
    kind: str
    layer: Layer
    value_type: ValueType
    reference_size: int = 0

    def launch(self, grid: Grid, stream: int, arguments: Sequence[Any]) -> None:
        assert stream == STREAM
        pointers = [argument for argument in arguments if isinstance(argument, ctypes.c_void_p)]
        lanes, queries, *strides = (argument.value for argument in arguments if isinstance(argument, ctypes.c_int32))
        assert grid.blocks * grid.threads >= lanes > (grid.blocks - 1) * grid.threads
        sizes = [self.reference_size, *strides] if self.reference_size else []
        self.host_kernels.launch(self.kind, self.layer, self.value_type, [lanes, queries, *sizes], pointers)


@pytest.fixture
def _gpu(host_kernels: HostKernels, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def stream_on(device: torch.device) -> Iterator[int]:
        yield STREAM

    def given(layer: Layer, value_type: ValueType, device: torch.device) -> HostLaunch:
        return HostLaunch(host_kernels, "given", layer, value_type)

    def projected(layer: Layer, value_type: ValueType, size: int, device: torch.device) -> HostLaunch:
        return HostLaunch(host_kernels, "projected", layer, value_type, size)

    monkeypatch.setattr(torch_launch, "stream_on", stream_on)
    monkeypatch.setattr(torch_cuda, "given_kernel", given)
    monkeypatch.setattr(torch_cuda, "projected_kernel", projected)


@pytest.mark.usefixtures("_gpu")
@pytest.mark.parametrize("value_type", list(ValueType))
@pytest.mark.parametrize("channels", [32, 20, 7])
def test_arguments_reach_the_kernel(value_type: ValueType, channels: int) -> None:
    value, locations, weights, shapes = random_call(2, 30, 3, channels, 4, SHAPES)
    value = value.to(TORCH_TYPES[value_type])
    found = torch_cuda.deformable_attention(value, locations, weights, Layer(3, channels, 4, tuple(shapes)))
    expected = torch_op.deformable_attention(value.double(), locations.double(), weights.double(), flat(shapes))
    assert found.dtype == value.dtype
    scale = weights.sum((3, 4)).repeat_interleave(channels, 2)
    assert ((found - expected).abs() / scale).max() <= ROUNDED[value_type]


@pytest.mark.usefixtures("_gpu")
@pytest.mark.parametrize("value_type", list(ValueType))
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize(("images", "levels"), [(1, 1), (2, 3)])
def test_projections_reach_the_kernel(value_type: ValueType, size: int, images: int, levels: int) -> None:
    value, offsets, logits, shapes = random_call(2, 30, 3, 16, 4, SHAPES)
    value, offsets, logits = (tensor.to(TORCH_TYPES[value_type]) for tensor in (value, 4 * offsets, logits))
    references = torch.rand(images, 30, levels, size, generator=torch.Generator().manual_seed(0))
    layer = Layer(3, 16, 4, tuple(shapes))
    found = torch_cuda.projected_deformable_attention(value, references, offsets, logits, layer)
    inputs = value.double(), references.double(), offsets.double(), logits.double()
    expected = torch_op.projected_deformable_attention(*inputs, flat(shapes))
    assert (found - expected).abs().max() <= PROJECTED[value_type]


@pytest.mark.usefixtures("_gpu")
def test_views_and_no_queries() -> None:
    """Tensors that are not contiguous, or start where a wide load may not, are copied; nothing to do is no launch."""
    value, locations, weights, shapes = random_call(2, 30, 3, 16, 4, SHAPES)
    layer = Layer(3, 16, 4, tuple(shapes))
    expected = torch_cuda.deformable_attention(value, locations, weights, layer)
    shifted = torch.empty(value.numel() + 1)[1:].view_as(value).copy_(value)
    turned = weights.transpose(0, 1).contiguous().transpose(0, 1)
    assert shifted.data_ptr() % 16 and not turned.is_contiguous()
    assert torch.equal(torch_cuda.deformable_attention(shifted, locations, turned, layer), expected)
    nothing = torch_cuda.deformable_attention(value, locations[:, :0], weights[:, :0], layer)
    assert nothing.shape == (2, 0, 48)


def test_float64_on_a_gpu_is_refused() -> None:
    with pytest.raises(TypeError, match=r"take torch\.float32, .* not torch\.float64"):
        torch_launch.value_type_of(torch.ones(1, dtype=torch.float64))


def test_level_shapes_that_do_not_cover_the_value_are_refused() -> None:
    with pytest.raises(ValueError, match="level_shapes cover 12 rows, value has 11"):
        torch_op.layer_of(torch.ones(1, 11, 1, 8), torch.ones(1, 5, 1, 1, 4), [3, 4])


def test_the_kernel_is_compiled_for_the_gpu_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[tuple[bytes, str]] = []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    monkeypatch.setattr(cuda_driver, "Kernel", lambda image, name: loaded.append((image, name)))
    layer = Layer(2, 16, 4, ((3, 4),))
    torch_cuda.given_kernel(layer, ValueType.FLOAT16, torch.device("cuda", 0))
    ((image, name),) = loaded
    expected = nvrtc.compile_cubin(
        torch_cuda.cuda_source.program(layer, [torch_cuda.cuda_source.given_kernel(layer, ValueType.FLOAT16)]),
        torch_cuda.cuda_source.headers(),
        "sm_86",
    )
    assert (image, name) == (expected.image, "deformable_attention_float16")


def test_without_a_driver_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_driver.load.cache_clear()
    monkeypatch.setattr(cuda_driver, "DRIVER", "libno-such-driver.so")
    with pytest.raises(native.NativeBuildError, match="is missing: install the driver"):
        cuda_driver.Kernel(b"", "name")
