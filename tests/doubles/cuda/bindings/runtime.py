"""The device queries that our sources make, answered from the environment."""

import os
from types import SimpleNamespace

SUCCESS, NO_DEVICE = 0, 100


def cudaGetDeviceCount() -> tuple[int, int]:  # noqa: N802
    count = int(os.environ.get("DOUBLE_GPUS", "1"))
    return (SUCCESS, count) if count else (NO_DEVICE, 0)


def cudaGetDeviceProperties(device: int) -> tuple[int, SimpleNamespace]:  # noqa: N802
    major, minor = map(int, os.environ.get("DOUBLE_CAPABILITY", "9.0").split("."))
    return SUCCESS, SimpleNamespace(name=b"Test GPU 80GB\0\0", major=major, minor=minor, totalGlobalMem=80 * 2**30)


def cudaDriverGetVersion() -> tuple[int, int]:  # noqa: N802
    return SUCCESS, 13000
