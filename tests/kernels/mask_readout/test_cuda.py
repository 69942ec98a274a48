"""The GPU kernel without a GPU: its arithmetic on the host, its launch, the torch op, and what compilers say."""

import ctypes
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from hyperseg_kernels.cuda import nvrtc, torch_launch
from hyperseg_kernels.cuda.source import Grid, ValueType
from hyperseg_kernels.mask_readout import cuda_source, reference, torch_cuda, torch_op
from mask_readout_support import Case, cases, check, random_case

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
RECORD = json.loads((BENCHMARKS / "results" / "kernel_resources.json").read_text())
TORCH_TYPES = {kind: dtype for dtype, kind in torch_launch.VALUE_TYPES.items()}
STREAM = 77


@settings(deadline=None, max_examples=80)
@given(case=cases())
def test_lanes_of_a_warp_equal_the_reference(host_block: Any, case: Case) -> None:
    check(on_host(host_block, ValueType.FLOAT32, case), case)


@pytest.mark.parametrize("value_type", list(ValueType))
def test_logits_of_every_type(host_block: Any, value_type: ValueType) -> None:
    case = random_case(1, (2, 5, 30, 70), 2, (200, 140))
    rounded = torch.from_numpy(case.logits).to(TORCH_TYPES[value_type]).float().numpy()
    case = Case(rounded, case.shown, case.rows, case.columns)
    check(on_host(host_block, value_type, case), case)


def test_a_query_that_is_not_there_has_no_pixel_inside(host_block: Any) -> None:
    """A GPU cannot refuse what it finds in memory: nothing outside is read, the mask is empty."""
    case = random_case(2, (1, 2, 8, 8), 0, (20, 20))
    case = Case(case.logits + 50, np.array([[5, 1, -1]], np.int32), case.rows, case.columns)
    _, _, pixels = on_host(host_block, ValueType.FLOAT32, case)
    assert [bool(mask.any()) for mask in pixels[0]] == [False, True, False]


@pytest.mark.parametrize(
    ("width_px", "expected"),
    [(1, Grid(1, 512, 128)), (256, Grid(1, 512, 32768)), (2000, Grid(1, 96, 48000)), (6016, Grid(1, 32, 48128))],
)
def test_a_block_has_lines_of_shared_memory_per_warp(width_px: int, expected: Grid) -> None:
    assert cuda_source.block(width_px) == expected
    assert expected.shared_bytes <= cuda_source.SHARED_BYTES


@pytest.mark.parametrize("width_px", [0, 6017])
def test_lines_that_fit_no_block_are_refused(width_px: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 6016 px wide, not {width_px}"):
        cuda_source.block(width_px)


def test_every_query_and_part_of_a_mask_has_a_block() -> None:
    assert cuda_source.grid(2, 100, 3, 256).blocks == 2 * 32 * (100 + 3)
    assert f"kParts = {reference.PARTS};" in cuda_source.headers()["masks.h"]
    assert cuda_source.grid(0, 100, 0, 256).blocks == 0
    with pytest.raises(ValueError, match="needs several launches"):
        cuda_source.grid(2**20, 2**11, 0, 256)


@pytest.mark.parametrize("arch", RECORD["mask_readout"])
def test_compiles_without_spills_and_as_recorded(kernel_resources: ModuleType, arch: str) -> None:
    found = kernel_resources.readout(arch)
    assert len(found) == 3
    for taken in found.values():
        assert 0 < taken["registers"] <= 64
        assert taken["spill_store_bytes"] == taken["spill_load_bytes"] == taken["stack_bytes"] == 0
    if RECORD["compiler"] == f"NVRTC {nvrtc.version()}":
        assert found == RECORD["mask_readout"][arch]


@pytest.mark.parametrize("value_type", list(ValueType))
def test_arguments_reach_the_kernel(host_block: Any, value_type: ValueType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CUDA path of the torch op on a stand-in for the GPU."""

    class HostLaunch:
        def launch(self, grid: Grid, stream: int, arguments: Sequence[Any]) -> None:
            assert stream == STREAM and grid.threads == 512
            getattr(host_block, cuda_source.name(value_type))(grid.blocks, *arguments)

    @contextmanager
    def stream_on(device: torch.device) -> Iterator[int]:
        yield STREAM

    monkeypatch.setattr(torch_launch, "stream_on", stream_on)
    monkeypatch.setattr(torch_cuda, "compiled_kernel", lambda kind, device: HostLaunch())
    case = random_case(3, (2, 4, 20, 24), 2, (50, 61))
    tensors = [torch.from_numpy(array) for array in case.inputs().values()]
    tensors[0] = tensors[0].to(TORCH_TYPES[value_type])
    found = torch_cuda.read_masks(*tensors)
    expected = torch_op.mask_readout(*tensors)
    case = Case(tensors[0].float().numpy(), case.shown, case.rows, case.columns)
    for made in (found, expected):
        check([tensor.numpy() for tensor in made], case)


def test_torch_knows_the_operator() -> None:
    tensors = [torch.from_numpy(array) for array in random_case(4, (1, 3, 8, 8), 2, (20, 30)).inputs().values()]
    torch.library.opcheck(torch_op.mask_readout, tensors, test_utils=("test_schema", "test_faketensor"))


def test_shapes_that_do_not_fit_are_refused() -> None:
    tensors = [torch.from_numpy(array) for array in random_case(5, (1, 3, 8, 8), 2, (20, 30)).inputs().values()]
    with pytest.raises(ValueError, match=r"expected mask_logits \(B, Q, h, w\)"):
        torch_op.mask_readout(tensors[0][0], *tensors[1:])
    with pytest.raises(ValueError, match=r"expected row tables \(4, H\)"):
        torch_op.mask_readout(*tensors[:2], tensors[2][:3], *tensors[3:])


@pytest.fixture
def kernel_resources(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return import_module("kernel_resources")


def on_host(library: Any, value_type: ValueType, case: Case) -> list[np.ndarray]:
    """sums, areas, pixels; they start as what no kernel makes."""
    images = len(case.logits)
    queries, masks, _, width, image_height, image_width = case.shapes()
    logits = torch.from_numpy(case.logits).to(TORCH_TYPES[value_type]).contiguous()
    inputs = [np.ascontiguousarray(array) for array in case.inputs().values()][1:]
    outputs = [
        np.full((images, queries, reference.PARTS), np.nan, np.float32),
        np.full((images, queries, reference.PARTS), -1, np.int32),
        np.full((images, masks, image_height, image_width), 2, np.uint8),
    ]
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (*inputs, *outputs)]
    blocks = cuda_source.grid(images, queries, masks, width).blocks
    run = getattr(library, cuda_source.name(value_type))
    run(blocks, ctypes.c_void_p(logits.data_ptr()), *pointers[:5], *case.shapes(), *pointers[5:])
    assert outputs[2].max(initial=0) <= 1
    return [*outputs[:2], outputs[2].astype(bool)]
