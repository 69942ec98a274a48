"""PyTorch's products and copies, on the host and on a GPU: see `hyperseg_bench.latency.peaks`."""

from collections.abc import Callable

import torch

from hyperseg_bench.latency.peaks import COPY_BYTES, DEVICE, HOST, SIDE, best_rate

HOST_TYPES = (torch.float32, torch.bfloat16)
"""float16 is left out: processors without units for it compute in float32, which is no peak of the type."""
DEVICE_TYPES = (torch.float32, torch.float16, torch.bfloat16)
DEVICE_SIDE = 8192
DEVICE_COPY_BYTES = 2**32
"""Where memory allows: on an H200 a copy of 1 GiB went at 2.7 TB/s, one of 4 GiB at 4.26."""


def torch_peaks(threads: int) -> dict[str, tuple[dict[str, float], float]]:
    """Operations a second by type, and bytes a second of a copy."""
    torch.set_num_threads(threads)
    found = {HOST: ({_name(dtype): _product("cpu", SIDE, dtype) for dtype in HOST_TYPES}, _copy("cpu", COPY_BYTES))}
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = False  # float32 means float32, as in our backends
        products = {_name(dtype): _product("cuda", DEVICE_SIDE, dtype) for dtype in DEVICE_TYPES}
        found[DEVICE] = (products, _copy("cuda", min(DEVICE_COPY_BYTES, torch.cuda.mem_get_info()[0] // 4)))
    return found


def _product(device: str, side: int, dtype: torch.dtype) -> float:
    first, second = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(first)
    return best_rate(_waited(device, lambda: torch.matmul(first, second, out=out)), 2 * side**3)


def _copy(device: str, size_bytes: int) -> float:
    source, target = (torch.zeros(size_bytes, dtype=torch.uint8, device=device) for _ in range(2))
    return best_rate(_waited(device, lambda: target.copy_(source)), 2.0 * size_bytes)


def _waited(device: str, work: Callable[[], object]) -> Callable[[], object]:
    def done() -> None:
        work()
        if device == "cuda":
            torch.cuda.synchronize()

    return done


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
