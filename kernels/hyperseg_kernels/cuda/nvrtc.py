"""Compile CUDA source to machine code with NVRTC: no GPU, no CUDA toolkit, no host compiler.

The library comes with `pip install nvidia-cuda-nvrtc`, with every CUDA build of torch and with the toolkit.
"""

import ctypes
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hyperseg_kernels.cuda import driver
from hyperseg_kernels.native import NativeBuildError

SYSTEM_NAMES = ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so")


@dataclass(frozen=True)
class Resources:
    """What one thread of a kernel takes, as ptxas reports it."""

    registers: int
    stack_bytes: int
    spill_store_bytes: int
    spill_load_bytes: int


@dataclass(frozen=True)
class Cubin:
    """Machine code for one GPU architecture."""

    image: bytes
    resources: dict[str, Resources]  # by kernel


def compile_cubin(source: str, headers: Mapping[str, str], arch: str) -> Cubin:
    """`arch` is an architecture like "sm_90"; `headers` are what the source includes, by name.

    Raises NativeBuildError when NVRTC is missing, or refuses the source or the architecture.
    """
    library = load()
    program = ctypes.c_void_p()
    names = (ctypes.c_char_p * len(headers))(*(name.encode() for name in headers))
    texts = (ctypes.c_char_p * len(headers))(*(text.encode() for text in headers.values()))
    _check(
        library,
        library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", len(headers), texts, names),
    )
    try:
        options = [f"--gpu-architecture={arch}".encode(), b"--std=c++17", b"--ptxas-options=-v"]
        status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
        log = _read(library, "ProgramLog", program).rstrip(b"\0").decode()
        if status != 0:
            first = next((line for line in log.splitlines() if "error" in line), library_error(library, status))
            raise NativeBuildError(f"NVRTC cannot compile for {arch}: {first}")
        return Cubin(_read(library, "CUBIN", program), dict(parse_resources(log)))
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def parse_resources(log: str) -> Iterator[tuple[str, Resources]]:
    """(kernel, what it takes) for each kernel that ptxas reports."""
    for part in log.split("Compiling entry function '")[1:]:
        numbers = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part)
        registers = re.search(r"Used (\d+) registers", part)
        if numbers and registers:
            stack, stores, loads = map(int, numbers.groups())
            yield part.partition("'")[0], Resources(int(registers[1]), stack, stores, loads)


def version() -> str:
    return "{}.{}".format(*_version(load()))


@cache
def load() -> ctypes.CDLL:
    """The library of an installed package, else the system's: the newest one whose machine code the driver runs.

    Drivers run code of their own CUDA major version and of earlier ones (NVIDIA, CUDA Compatibility, Minor Version
    Compatibility). Raises NativeBuildError.
    """
    newest, too_new = driver.newest_cuda(), set[int]()
    for name in (*map(str, _installed()), *SYSTEM_NAMES):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, _ = _version(library)
        if newest is None or major <= newest:
            return library
        too_new.add(major)
    if too_new:
        raise NativeBuildError(
            f"NVRTC, the compiler of CUDA kernels, is there for CUDA {min(too_new)}, the driver runs {newest}: "
            f"pip install nvidia-cuda-nvrtc-cu{newest}, or renew the driver"
        )
    raise NativeBuildError("NVRTC, the compiler of CUDA kernels, is missing: pip install nvidia-cuda-nvrtc")


def library_error(library: ctypes.CDLL, status: int) -> str:
    return bytes(library.nvrtcGetErrorString(status)).decode()


def _installed() -> list[Path]:
    """Where the packages nvidia-cuda-nvrtc, nvidia-cuda-nvrtc-cu12 and torch put it; newest first."""
    spec = importlib.util.find_spec("nvidia")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [path for folder in folders for path in Path(folder).glob("*/lib/libnvrtc.so.[0-9]*")]
    return sorted(found, key=lambda path: int(path.name.split(".")[2]), reverse=True)


def _version(library: ctypes.CDLL) -> tuple[int, int]:
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(library, library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return major.value, minor.value


def _read(library: ctypes.CDLL, what: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check(library, getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(library, getattr(library, f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def _check(library: ctypes.CDLL, status: int) -> None:
    if status != 0:
        raise NativeBuildError(f"NVRTC: {library_error(library, status)}")
