"""The double's GPU finds the faults that a real one lets through at times."""

from types import ModuleType

import numpy as np
import pytest

from double_stream import Bare


@pytest.fixture
def bare(gpu: ModuleType) -> Bare:
    return Bare(gpu)


def test_reading_without_waiting_gives_no_result(bare: Bare) -> None:
    """Neither what the stream will write nor what lay there before."""
    device, host = bare.malloc(8), bare.pinned(8)
    bare.fill(host, np.arange(2, dtype=np.float32))
    stream = bare.stream()
    bare.copy(device, host, 8, 1, stream)
    back = bare.pinned(8)
    bare.copy(back, device, 8, 2, stream)
    assert np.isnan(bare.read(back, 2)).all()
    assert bare.api.cudaStreamSynchronize(stream) == (0,)
    assert bare.read(back, 2).tolist() == [0.0, 1.0]
    bare.free()


def test_another_stream_sees_nothing_without_an_event(bare: Bare) -> None:
    device, host, back = bare.malloc(8), bare.pinned(8), bare.pinned(8)
    bare.fill(host, np.ones(2, np.float32))
    writer, reader = bare.stream(), bare.stream()
    bare.copy(device, host, 8, 1, writer)
    bare.copy(back, device, 8, 2, reader)
    bare.api.cudaStreamSynchronize(reader)
    assert np.isnan(bare.read(back, 2)).all()
    bare.wait_for(reader, writer)
    bare.copy(back, device, 8, 2, reader)
    bare.api.cudaStreamSynchronize(reader)
    assert bare.read(back, 2).tolist() == [1.0, 1.0]
    bare.free()


def test_work_on_freed_memory_stays_an_error(bare: Bare) -> None:
    device, stream = bare.malloc(8), bare.stream()
    bare.free_device(device)
    bare.api.cudaMemsetAsync(device, 0, 8, stream)
    assert bare.api.cudaStreamSynchronize(stream) == (700,)
    assert bare.api.cudaMalloc(8)[0] == 700
    bare.gpu.GPU.failed = 0
    bare.free()


def test_memory_is_bounded(bare: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLE_MEMORY_BYTES", "100")
    assert bare.api.cudaMalloc(101) == (2, None)
    bare.free()


def test_waiting_spoils_a_recording(bare: Bare) -> None:
    stream = bare.stream()
    mode = bare.api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    for illegal in (lambda: bare.api.cudaMalloc(8)[0], lambda: bare.api.cudaStreamSynchronize(stream)[0]):
        bare.api.cudaStreamBeginCapture(stream, mode)
        assert illegal() == 900
        assert bare.api.cudaStreamEndCapture(stream) == (901, None)
    bare.free()
