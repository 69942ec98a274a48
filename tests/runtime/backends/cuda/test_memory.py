"""Blocks are reused in the order of the work on them, whoever works on them."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hyperseg_runtime.backends.cuda.device import Device
from hyperseg_runtime.backends.cuda.memory import Pool, rounded
from hyperseg_runtime.contracts.graph_spec import DType, TensorSpec
from hyperseg_runtime.errors import InputError, ResourceError


@pytest.fixture
def device(gpu: ModuleType) -> Iterator[Device]:
    from cuda.bindings import runtime as cudart

    opened = Device(cudart)
    yield opened
    opened.close()


@pytest.mark.parametrize("size", [1, 512, 513, 1000, 10**6 + 1, 2**30])
def test_a_block_wastes_at_most_an_eighth(size: int) -> None:
    assert max(size, 512) <= rounded(size) < max(513, size * 9 / 8 + 1)


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (np.array([[1.5, -2.25]], np.float32), None, [[1.5, -2.25]]),
        (np.array([[1.5, -2.25]], np.float32), DType.FLOAT16, [[1.5, -2.25]]),
        (np.array([[1.00390625, 3.0]], np.float32), DType.BFLOAT16, [[1.0, 3.0]]),
        (np.array([[True, False]]), None, [[True, False]]),
        (np.arange(6, dtype=np.int64).reshape(2, 3).T, None, [[0, 3], [1, 4], [2, 5]]),
    ],
)
def test_what_goes_up_comes_down(device: Device, values: np.ndarray, dtype: DType | None, expected: Any) -> None:
    buffer = device.upload(values, dtype)
    assert (str(buffer.dtype), buffer.shape) == (str(dtype or values.dtype), values.shape)
    assert buffer.to_host().tolist() == expected
    assert not buffer.to_host().flags.writeable


def test_what_was_read_stays_when_its_buffer_is_gone(device: Device) -> None:
    kept = device.upload(np.arange(4, dtype=np.float32)).to_host()
    for value in range(5):
        device.upload(np.full(4, value, np.float32)).to_host()
    device.close()
    assert kept.tolist() == [0, 1, 2, 3]
    del kept


def test_memory_is_reused(device: Device, gpu: ModuleType) -> None:
    for value in range(20):
        assert device.upload(np.full(1000, value, np.float32)).to_host()[0] == value
    assert gpu.GPU.memory["device"].live_bytes <= 2 * rounded(4000)


def test_rows_are_copied_in_order(device: Device) -> None:
    """The target's old memory, the source and the target are all still being worked on."""
    spec = TensorSpec(name="t", dtype=DType.FLOAT32, axes=("batch", "tokens", 2))
    target = device.zeros(spec, {"batch": 2, "tokens": 4})
    for start in (0, 2):
        source = device.upload(np.full((1, 2, 2), 1 + start, np.float32))
        device.copy_rows(target, 1, start, source, 0)
        del source
        device.upload(np.full((1, 2, 2), 9, np.float32))  # takes the memory of the source
    assert target.to_host()[:, :, 0].tolist() == [[0, 0, 0, 0], [1, 1, 3, 3]]
    device.copy_rows(target, 0, 3, device.upload(np.full((2, 1, 2), 7, np.float32)), 1)
    assert target.to_host()[0, :, 1].tolist() == [0, 0, 0, 7]


@pytest.mark.parametrize(("batch", "start", "shape"), [(2, 0, (1, 1, 2)), (0, 4, (1, 1, 2)), (0, 0, (1, 1, 3))])
def test_rows_that_do_not_fit_are_refused(device: Device, batch: int, start: int, shape: tuple[int, ...]) -> None:
    target = device.upload(np.zeros((2, 4, 2), np.float32))
    with pytest.raises(InputError, match="do not fit"):
        device.copy_rows(target, batch, start, device.upload(np.zeros(shape, np.float32)), 0)


def test_full_memory_is_emptied_of_idle_blocks_first(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_MEMORY_BYTES", "10000")
    for count in (1000, 1200, 1400):
        device.upload(np.zeros(count, np.float32))
    assert device.memory.epoch > 0
    held = device.upload(np.zeros(2000, np.float32))
    with pytest.raises(ResourceError, match=r"GPU memory ran out: 8\.\d MB more|GPU memory ran out: 0.0 MB more are"):
        device.upload(np.zeros(2000, np.float32))
    assert held.to_host().sum() == 0


def test_a_closed_device_says_so(device: Device) -> None:
    buffer = device.upload(np.zeros(3, np.float32))
    device.close()
    device.close()
    with pytest.raises(InputError, match="the backend is closed"):
        buffer.to_host()
    with pytest.raises(InputError, match="the backend is closed"):
        device.upload(np.zeros(3, np.float32))


def test_buffers_of_another_device_are_refused(device: Device) -> None:
    from cuda.bindings import runtime as cudart

    other = Device(cudart)
    foreign = other.upload(np.zeros((1, 1, 2), np.float32))
    with pytest.raises(InputError, match="source is not a buffer of this backend"):
        device.copy_rows(device.upload(np.zeros((1, 1, 2), np.float32)), 0, 0, foreign, 0)
    other.close()


def test_a_block_that_is_given_back_late_is_freed() -> None:
    freed: list[int] = []
    pool = Pool("memory", lambda size: size, freed.append)
    block, idle = pool.take(600), pool.take(5000)
    pool.give_back(idle)
    pool.close(everything=False)
    assert freed == [idle.address]
    pool.give_back(block)
    pool.give_back(block)
    assert freed == [idle.address, block.address]
