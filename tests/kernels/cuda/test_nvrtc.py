"""The CUDA compiler as a library: what it reports, and how it says that something is wrong."""

import ctypes
from typing import Any

import pytest

from hyperseg_kernels.cuda import nvrtc
from hyperseg_kernels.cuda.nvrtc import Resources
from hyperseg_kernels.native import NativeBuildError

SOURCE = '#include "one.h"\nextern "C" __global__ void fill(float* x) { x[threadIdx.x] = ONE; }'


def test_compiles_with_headers_and_reports_registers() -> None:
    compiled = nvrtc.compile_cubin(SOURCE, {"one.h": "#define ONE 1.0f\n"}, "sm_90")
    assert compiled.image.startswith(b"\x7fELF") and b"fill" in compiled.image
    assert 0 < compiled.resources["fill"].registers < 32


def test_reads_what_ptxas_reports() -> None:
    log = """ptxas info    : 4 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_90'
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 48 registers, used 0 barriers
ptxas info    : Compiling entry function 'second' for 'sm_90'
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 12 registers, used 0 barriers"""
    assert dict(nvrtc.parse_resources(log)) == {"first": Resources(48, 8, 4, 12), "second": Resources(12, 0, 0, 0)}


@pytest.mark.parametrize(
    ("source", "arch", "message"),
    [
        ("__global__ void f() { missing(); }", "sm_90", r"cannot compile for sm_90: .*missing"),
        ("__global__ void f() {}", "sm_10", r"cannot compile for sm_10: .*architecture"),
    ],
)
def test_what_cannot_be_compiled_is_one_line(source: str, arch: str, message: str) -> None:
    with pytest.raises(NativeBuildError, match=message) as caught:
        nvrtc.compile_cubin(source, {}, arch)
    assert "\n" not in str(caught.value)


class Installed:
    """Libraries of several CUDA versions, by the name they are loaded by."""

    def __init__(self, name: str) -> None:
        self.major = int(name.rpartition(".")[2])
        self.nvrtcGetErrorString = lambda status: b""
        self.nvrtcVersion = self.tell_version

    def tell_version(self, major: Any, minor: Any) -> int:
        major._obj.value = self.major
        return 0


@pytest.mark.parametrize(("driver_cuda", "taken"), [(12, 12), (13, 13), (14, 13), (None, 13)])
def test_the_newest_that_the_driver_runs_is_taken(
    monkeypatch: pytest.MonkeyPatch, driver_cuda: int | None, taken: int
) -> None:
    """As after TensorRT for CUDA 13 gave way to the one for CUDA 12: its compiler stays installed."""
    monkeypatch.setattr(nvrtc, "_installed", lambda: ["libnvrtc.so.13", "libnvrtc.so.12"])
    monkeypatch.setattr(nvrtc.driver, "newest_cuda", lambda: driver_cuda)
    monkeypatch.setattr(ctypes, "CDLL", Installed)
    nvrtc.load.cache_clear()
    found: Any = nvrtc.load()
    nvrtc.load.cache_clear()
    assert found.major == taken


def test_one_that_is_too_new_is_told_with_the_package_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "_installed", lambda: ["libnvrtc.so.13"])
    monkeypatch.setattr(nvrtc, "SYSTEM_NAMES", ())
    monkeypatch.setattr(nvrtc.driver, "newest_cuda", lambda: 12)
    monkeypatch.setattr(ctypes, "CDLL", Installed)
    nvrtc.load.cache_clear()
    with pytest.raises(NativeBuildError, match=r"there for CUDA 13, the driver runs 12: .* nvidia-cuda-nvrtc-cu12"):
        nvrtc.load()


def test_without_the_library_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> ctypes.CDLL:
        raise OSError(name)

    nvrtc.load.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(NativeBuildError, match="pip install nvidia-cuda-nvrtc"):
        nvrtc.load()
