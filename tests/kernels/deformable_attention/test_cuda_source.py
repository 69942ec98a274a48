"""CUDA source for one layer: what is generated, how it is launched, and that every architecture takes it."""

import json
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from hyperseg_kernels.cuda import nvrtc
from hyperseg_kernels.cuda.source import THREADS_PER_BLOCK, Grid, ValueType, grid_of
from hyperseg_kernels.deformable_attention import cuda_source
from hyperseg_kernels.deformable_attention.cuda_source import Layer

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
RECORD = json.loads((BENCHMARKS / "results" / "kernel_resources.json").read_text())
FULL_SIZE = Layer(8, 32, 4, ((32, 32), (64, 64), (128, 128)))


@pytest.fixture
def kernel_resources(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return import_module("kernel_resources")


@pytest.mark.slow
@pytest.mark.parametrize("arch", RECORD["kernels"])
def test_compiles_without_spills_and_as_recorded(kernel_resources: ModuleType, arch: str) -> None:
    compiled = kernel_resources.compiled(arch)
    assert compiled.image.startswith(b"\x7fELF")
    assert len(compiled.resources) == 9
    for taken in compiled.resources.values():
        assert 0 < taken.registers <= 80
        assert (taken.stack_bytes, taken.spill_store_bytes, taken.spill_load_bytes) == (0, 0, 0)
    if RECORD["compiler"] == f"NVRTC {nvrtc.version()}":
        assert kernel_resources.resources(compiled) == RECORD["kernels"][arch]


@pytest.mark.parametrize(
    "layer", [Layer(1, 1, 1, ((1, 1),)), Layer(3, 20, 5, ((7, 9), (1, 3))), Layer(8, 64, 8, ((2, 2),) * 5)]
)
def test_any_sizes_compile(layer: Layer) -> None:
    kernels = [
        cuda_source.given_kernel(layer, ValueType.FLOAT16),
        cuda_source.projected_kernel(layer, ValueType.FLOAT32, 4),
    ]
    compiled = nvrtc.compile_cubin(cuda_source.program(layer, kernels), cuda_source.headers(), "sm_90")
    names = {cuda_source.given_name(ValueType.FLOAT16), cuda_source.projected_name(ValueType.FLOAT32, 4)}
    assert compiled.resources.keys() == names


@pytest.mark.parametrize(
    ("channels", "value_type", "expected"),
    [
        (32, ValueType.FLOAT16, 8),
        (32, ValueType.FLOAT32, 4),
        (64, ValueType.BFLOAT16, 8),
        (20, ValueType.FLOAT16, 4),
        (18, ValueType.FLOAT32, 2),
        (7, ValueType.BFLOAT16, 1),
    ],
)
def test_a_lane_takes_one_load_of_at_most_16_bytes(channels: int, value_type: ValueType, expected: int) -> None:
    layer = Layer(2, channels, 4, ((3, 4),))
    assert layer.lane_channels(value_type) == expected
    assert layer.lane_channels(value_type) * value_type.size_bytes <= 16 and channels % expected == 0


def test_launch_covers_every_channel_once() -> None:
    """At full size, one fp16 layer: 21,504 queries x 8 heads x 4 lanes of 8 channels."""
    lanes = FULL_SIZE.lanes(ValueType.FLOAT16, batch=1, queries=FULL_SIZE.rows)
    assert FULL_SIZE.rows == 21504 and lanes == 21504 * 8 * 4
    assert grid_of(lanes) == Grid(lanes // THREADS_PER_BLOCK)
    assert [grid_of(count).blocks for count in (0, 1, 256, 257)] == [0, 1, 1, 2]


def test_the_layer_in_cpp() -> None:
    assert Layer(3, 20, 5, ((7, 9), (1, 3))).cpp() == "{3, 20, 5, {2, {7, 1}, {9, 3}, {0, 63}}}"


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((8, 32, 4, ()), "1 to 32 levels, not 0"),
        ((8, 32, 4, ((1, 1),) * 33), "1 to 32 levels, not 33"),
        ((8, 32, 0, ((4, 4),)), "every size must be at least 1"),
        ((8, 32, 4, ((4, 0),)), "every size must be at least 1"),
        ((8, 64, 4, ((2048, 2048),)), r"2\*\*31 values or more"),
    ],
)
def test_sizes_that_cannot_be_indexed_are_refused(
    sizes: tuple[int, int, int, tuple[tuple[int, int], ...]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Layer(*sizes)


def test_a_batch_beyond_one_launch_is_refused() -> None:
    with pytest.raises(ValueError, match="needs several launches"):
        FULL_SIZE.lanes(ValueType.FLOAT32, batch=4096, queries=21504)
