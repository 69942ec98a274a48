"""The GPU kernel's text compiled for the host (see host_block.cpp)."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hyperseg_kernels import native
from hyperseg_kernels.cuda import source as cuda
from hyperseg_kernels.mask_readout import cuda_source

SHIM = Path(__file__).parent / "host_block.cpp"


@pytest.fixture(scope="session")
def host_block(compiled: Callable[[Callable[[], Path]], Path]) -> Any:
    return ctypes.CDLL(str(compiled(lambda: native.build_library(SHIM, [cuda.SOURCES, cuda_source.SOURCES]))))
