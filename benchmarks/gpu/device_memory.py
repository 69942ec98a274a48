"""The memory and streams that every GPU backend is built on, on a real GPU: kernels that take their time, and data
that would be wrong if one piece of work did not wait for another.

    python benchmarks/gpu/device_memory.py

Needs cuda-python, NVRTC and a GPU, no torch and no TensorRT; says "not measured" and ends with 0 where one is absent,
with 1 where an answer is wrong. The last line of output is the path of the JSON file.
"""

import ctypes
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from hyperseg_bench import measure
from hyperseg_kernels.cuda import driver, nvrtc
from hyperseg_kernels.cuda.source import grid_of
from hyperseg_runtime.backends.cuda.cuda_graphs import Replay, record
from hyperseg_runtime.backends.cuda.device import Device, DeviceBuffer
from hyperseg_runtime.backends.cuda.driver import load_cudart, require_driver
from hyperseg_runtime.backends.cuda.memory import using
from hyperseg_runtime.backends.cuda.streams import Stream
from hyperseg_runtime.contracts import bfloat16
from hyperseg_runtime.contracts.graph_spec import DType, TensorSpec
from hyperseg_runtime.errors import HypersegError, ResourceError

COUNT = 1 << 20
SLOW_CYCLES = 40_000_000
"""About 20 ms on a current GPU: whoever does not wait reads what was there before."""
ROUNDS = 200
COPIED_BYTES = 1 << 28

SOURCE = """
extern "C" __global__ void slow_add(const float* given, int count, int added, int cycles, float* made) {
  const long long start = clock64();
  while (clock64() - start < cycles) {}
  const int index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index < count) made[index] = given[index] + added;
}
"""


@dataclass(frozen=True)
class Bench:
    """What the checks work with."""

    device: Device
    kernel: driver.Kernel

    def add(self, stream: Stream, given: DeviceBuffer, added: int, made: DeviceBuffer, cycles: int = 0) -> None:
        """Queue made = given + added, ordered against all other users of both."""
        with using(stream, [given.block], [made.block]):
            self.launch(stream, given, added, made, cycles)

    def launch(self, stream: Stream, given: DeviceBuffer, added: int, made: DeviceBuffer, cycles: int = 0) -> None:
        numbers = [ctypes.c_int32(number) for number in (math.prod(given.shape), added, cycles)]
        addresses = [ctypes.c_void_p(buffer.block.address) for buffer in (given, made)]
        grid = grid_of(math.prod(given.shape))
        self.kernel.launch(grid, stream.handle, [addresses[0], *numbers, addresses[1]])

    def floats(self, count: int = COUNT) -> DeviceBuffer:
        return self.device.empty(DType.FLOAT32, (count,))


def main() -> None:
    missing = what_is_missing()
    if missing:
        print(f"not measured: {missing}")
        return
    cudart = load_cudart()
    device = Device(cudart)
    kernel = driver.Kernel(nvrtc.compile_cubin(SOURCE, {}, driver.architecture()).image, "slow_add")
    bench = Bench(device, kernel)
    rows = [{"check": check.__name__, "question": check.__doc__, "right": bool(check(bench))} for check in CHECKS]
    content = {
        "environment": measure.environment() | {"gpu": gpu_name(cudart)},
        "conditions": {"floats": COUNT, "slow_cycles": SLOW_CYCLES, "rounds": ROUNDS, "copied_bytes": COPIED_BYTES},
        "checks": rows,
        "times": times(bench),
    }
    device.close()
    for row in rows:
        print(row["check"], "right" if row["right"] else "WRONG")
    print(content["times"])
    print(measure.write_results("device_memory_gpu", content))
    if not all(row["right"] for row in rows):
        sys.exit(1)


def what_is_missing() -> str:
    try:
        require_driver(load_cudart())
        nvrtc.load()
        driver.architecture()
    except (HypersegError, RuntimeError) as error:
        return str(error)
    return ""


def gpu_name(cudart: Any) -> str:
    _, properties = cudart.cudaGetDeviceProperties(0)
    return str(properties.name.decode().rstrip("\0"))


def what_goes_up_comes_down(bench: Bench) -> bool:
    """Are numbers of every type the same after a way up and down?"""
    random = np.random.default_rng(0)
    whole = random.integers(-100, 100, (3, 1001))
    given = {dtype: whole.astype(str(dtype)) for dtype in (DType.FLOAT32, DType.FLOAT16, DType.INT64, DType.INT8)}
    given |= {DType.BOOL: whole > 0, DType.UINT8: np.abs(whole).astype(np.uint8)}
    right = [np.array_equal(bench.device.upload(array, dtype).to_host(), array) for dtype, array in given.items()]
    fine = random.standard_normal((5, 77), np.float32)
    rounded = bfloat16.from_bits(bfloat16.to_bits(fine))
    return all(right) and np.array_equal(bench.device.upload(fine, DType.BFLOAT16).to_host(), rounded)


def streams_wait_for_each_other(bench: Bench) -> bool:
    """Does a kernel in one stream wait for a slow one in another whose result it reads, and a download for both?"""
    first, second = Stream(bench.device.cudart), Stream(bench.device.cudart)
    given, middle, last = bench.device.upload(np.arange(COUNT, dtype=np.float32)), bench.floats(), bench.floats()
    bench.add(first, given, 1, middle, SLOW_CYCLES)
    bench.add(second, middle, 2, last)
    right = np.array_equal(last.to_host(), np.arange(COUNT, dtype=np.float32) + 3)
    first.close()
    second.close()
    return right


def memory_in_use_goes_to_nobody(bench: Bench) -> bool:
    """Is memory that was given back while a slow kernel still reads it left alone until the kernel is done?"""
    stream = Stream(bench.device.cudart)
    made = bench.floats()
    given = bench.device.upload(np.ones(COUNT, np.float32))
    address = given.block.address
    bench.device.to_host([given])
    bench.add(stream, given, 1, made, SLOW_CYCLES)
    del given
    others = [bench.device.upload(np.full(COUNT, 7, np.float32)) for _ in range(4)]
    apart = all(other.block.address != address for other in others)
    right = bool((made.to_host() == 2).all())
    stream.close()
    return apart and right


def an_overwriting_upload_waits(bench: Bench) -> bool:
    """Does a copy into rows that a slow kernel reads wait for it?"""
    stream = Stream(bench.device.cudart)
    rows = bench.device.upload(np.ones((1, COUNT // 64, 64), np.float32))
    made = bench.floats()
    bench.add(stream, rows, 1, made, SLOW_CYCLES)
    bench.device.copy_rows(rows, 0, 0, bench.device.upload(np.full((1, COUNT // 64, 64), 9, np.float32)), 0)
    right = bool((made.to_host() == 2).all() and (rows.to_host() == 9).all())
    stream.close()
    return right


def zeros_are_zero(bench: Bench) -> bool:
    """Is memory that others filled before zero where zeros were asked for?"""
    spec = TensorSpec(name="cache", dtype=DType.FLOAT16, axes=("batch", COUNT))
    filled = [bench.device.upload(np.full((2, COUNT), 5, np.float16)) for _ in range(3)]
    for buffer in filled:
        buffer.to_host()
    del filled, buffer
    return not bench.device.zeros(spec, {"batch": 2}).to_host().any()


def recorded_calls_are_replayed(bench: Bench) -> bool:
    """Does a recorded call give new answers for new inputs, and what it gave before stay what it was?"""
    stream, cudart = Stream(bench.device.cudart), bench.device.cudart
    own, out = bench.floats(), bench.floats()
    recorded = record(cudart, stream, lambda: bench.launch(stream, own, 5, out, SLOW_CYCLES // 10))
    replay = Replay(bench.device, stream, {"x": own}, {"y": out}, recorded)
    given = [bench.device.upload(np.full(COUNT, value, np.float32)) for value in range(4)]
    made = [replay.run({"x": buffer}, {})["y"] for buffer in given]
    right = all(bool((buffer.to_host() == value + 5).all()) for value, buffer in enumerate(made))
    replay.close()
    stream.close()
    return right


def a_failed_recording_leaves_the_stream_usable(bench: Bench) -> bool:
    """Can a stream be used after a recording in it was given up?"""

    def refuse() -> None:
        raise ValueError

    stream = Stream(bench.device.cudart)
    try:
        record(bench.device.cudart, stream, refuse)
    except ValueError:
        made = bench.floats()
        bench.add(stream, bench.device.upload(np.zeros(COUNT, np.float32)), 1, made)
        return bool((made.to_host() == 1).all())
    finally:
        stream.close()
    return False


def too_much_memory_is_refused_by_name(bench: Bench) -> bool:
    """Is a request for more memory than there is a ResourceError, after which work goes on?"""
    try:
        bench.device.empty(DType.FLOAT32, (1 << 42,))
    except ResourceError as error:
        kept = bench.device.upload(np.arange(9, dtype=np.float32)).to_host()
        return "GPU memory ran out" in str(error) and kept.tolist() == list(range(9))
    return False


def times(bench: Bench) -> dict[str, float]:
    """What the runtime's own steps take: medians."""
    numbers = np.ones(COPIED_BYTES // 4, np.float32)
    large = bench.device.upload(numbers)
    small = bench.device.upload(np.ones(8, np.float32))
    stream = Stream(bench.device.cudart)
    out = bench.floats(8)

    def down(buffer: DeviceBuffer) -> None:
        buffer.host_copy = None
        buffer.to_host()

    def both() -> None:
        bench.add(stream, small, 1, out)
        down(out)

    own, own_out = bench.floats(8), bench.floats(8)
    recorded = record(bench.device.cudart, stream, lambda: bench.launch(stream, own, 1, own_out))
    replay = Replay(bench.device, stream, {"x": own}, {"y": own_out}, recorded)
    found = {
        "upload, GB/s": COPIED_BYTES / 1e9 / seconds(lambda: arrived(bench, numbers), 10),
        "download, GB/s": COPIED_BYTES / 1e9 / seconds(lambda: down(large), 10),
        "one kernel and its answer on the host, microseconds": 1e6 * seconds(both, ROUNDS),
        "launching a replay, microseconds": 1e6 * seconds(lambda: replay.run({"x": small}, {}), ROUNDS),
        "a small upload, microseconds": 1e6 * seconds(lambda: bench.device.upload(np.ones(8, np.float32)), ROUNDS),
    }
    replay.close()
    stream.close()
    return {name: round(value, 2) for name, value in found.items()}


def arrived(bench: Bench, numbers: np.ndarray) -> None:
    """An upload until it has arrived."""
    bench.device.upload(numbers).block.wait_until_idle()


def seconds(work: Callable[[], object], rounds: int) -> float:
    for _ in range(3):
        work()
    taken = []
    for _ in range(rounds):
        start = perf_counter()
        work()
        taken.append(perf_counter() - start)
    return statistics.median(taken)


CHECKS: tuple[Callable[[Bench], bool], ...] = (
    what_goes_up_comes_down,
    streams_wait_for_each_other,
    memory_in_use_goes_to_nobody,
    an_overwriting_upload_waits,
    zeros_are_zero,
    recorded_calls_are_replayed,
    a_failed_recording_leaves_the_stream_usable,
    too_much_memory_is_refused_by_name,
)

if __name__ == "__main__":
    main()
