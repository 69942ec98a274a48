"""An image for both encoders on a GPU, byte for byte as Pillow makes it: resized, normalised, padded.

    python benchmarks/kernels/bench_pillow_resize_gpu.py --rounds 200

The pixels lie on the GPU as bytes. Beside the time stands the least that memory allows (bytes in, numbers out, at the
speed of a copy) and what the host takes for the same with Pillow. Times are of CUDA graphs. Needs a CUDA build of torch
and a GPU; says "not measured" and ends with 0 where there is none.
"""

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import measure_gpu
import numpy as np

from hyperseg_kernels.pillow_resize.axis import Filter
from hyperseg_runtime.images.preprocessing import fitted_size, longest_side_square, plain_square
from hyperseg_runtime.images.resize_tables import table_arrays

if TYPE_CHECKING:
    from torch import Tensor

SQUARE_PX, CLIP_PX = 1024, 384
"""Sides of what the published encoders take."""
IMAGES_HW = (480, 640), (1024, 1024), (1080, 1920), (2048, 2048)
GOAL_MS = 0.15
"""For 1024 x 1024 on an H200; on another card scaled by memory bandwidth."""


def main() -> None:
    settings = {"square_px": SQUARE_PX, "clip_px": CLIP_PX, "goal_ms": GOAL_MS}
    measure_gpu.main(__doc__, "pillow_resize_gpu", settings, rows_of)


def rows_of(rounds: int, bandwidth: float) -> dict[str, list[dict[str, Any]]]:
    return {"images": [measure_size(image_hw, rounds, bandwidth) for image_hw in IMAGES_HW]}


def measure_size(image_hw: tuple[int, int], rounds: int, bandwidth: float) -> dict[str, Any]:
    """Median milliseconds, the roofline's, the host's, and how many numbers differ from the host's."""
    image = np.random.default_rng(sum(image_hw)).integers(0, 256, (*image_hw, 3), np.uint8)
    prepare = on_device(image, "cuda")
    made, expected = prepare(), on_host(image)
    start = time.perf_counter()
    on_host(image)
    host_ms = 1000 * (time.perf_counter() - start)
    moved = image.nbytes + sum(array.nbytes for array in expected)
    return {
        "image_hw": image_hw,
        "ms": round(statistics.median(measure_gpu.graph_times_ms(prepare, rounds)), 4),
        "roofline_ms": round(1000 * moved / bandwidth, 4),
        "host_ms": round(host_ms, 1),
        "differing_numbers": sum(
            int((one.cpu().numpy() != other).sum()) for one, other in zip(made, expected, strict=True)
        ),
    }


def on_device(image_hwc_u8: np.ndarray, device: str) -> "Callable[[], tuple[Tensor, Tensor]]":
    """Both encoders' images from bytes on the device, as the graph `preprocess` makes them."""
    import torch

    from hyperseg_export.modules.preprocessing import LongestSideSquare, PlainSquare

    height, width = image_hwc_u8.shape[:2]
    targets = fitted_size(height, width, SQUARE_PX), (CLIP_PX, CLIP_PX)
    pixels = torch.from_numpy(image_hwc_u8)[None].to(device)
    both = [
        [torch.from_numpy(table).int().to(device) for _, table in table_arrays("", (height, width), target, method)]
        for target, method in zip(targets, Filter, strict=True)
    ]
    square, clip = LongestSideSquare(SQUARE_PX).to(device), PlainSquare().to(device)

    def prepare() -> "tuple[Tensor, Tensor]":
        numbers = pixels.float()
        return square(numbers, both[0]), clip(numbers, both[1])

    return prepare


def on_host(image_hwc_u8: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return longest_side_square(image_hwc_u8, SQUARE_PX)[0][None], plain_square(image_hwc_u8, CLIP_PX)[None]


if __name__ == "__main__":
    main()
