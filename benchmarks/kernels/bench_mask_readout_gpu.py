"""Reading the best of 100 masks on a GPU: our kernel against every query at full size in torch.

    python benchmarks/kernels/bench_mask_readout_gpu.py --rounds 200

Both leave the score of every query and the winner's mask on the GPU. The torch form resizes, cuts and resizes all
queries, as the original code does. Times are of CUDA graphs. Needs a CUDA build of torch and a GPU; says "not
measured" and ends with 0 where there is none.
"""

import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import measure_gpu
from bench_mask_readout import PADDED, QUERIES, SIDE, blobs, table_inputs

from hyperseg_kernels.mask_readout.axis import axis
from hyperseg_kernels.mask_readout.reference import QUALITY_EPSILON
from hyperseg_runtime.images.preprocessing import fitted_size

if TYPE_CHECKING:
    from torch import Tensor

IMAGES_HW = (480, 640), (1024, 1024), (1080, 1920)
GOAL_MS = 0.2
"""For 1024 x 1024 on an H200; on another card scaled by memory bandwidth."""


def main() -> None:
    settings = {"queries": QUERIES, "logits_px": SIDE, "precision": "fp32", "goal_ms": GOAL_MS}
    measure_gpu.main(__doc__, "mask_readout_gpu", settings, rows_of)


def rows_of(rounds: int, bandwidth: float) -> dict[str, list[dict[str, Any]]]:
    return {"images": [measure_size(image_hw, rounds) for image_hw in IMAGES_HW]}


def measure_size(image_hw: tuple[int, int], rounds: int) -> dict[str, Any]:
    """Median milliseconds of both, whether they agree and whether two runs do."""
    import torch

    logits = torch.from_numpy(blobs()).to("cuda")
    scores = torch.randn(QUERIES, generator=torch.Generator().manual_seed(0)).to("cuda")
    valid_hw = fitted_size(*image_hw, PADDED)
    rows, columns = (axis(SIDE, PADDED, *sizes) for sizes in zip(valid_hw, image_hw, strict=True))
    tables = {name: torch.from_numpy(table).to("cuda") for name, table in table_inputs(rows, columns).items()}
    rivals: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
        "kernel": lambda: with_kernel(logits, scores, tables),
        "torch": lambda: at_full_size(logits, scores, valid_hw, image_hw),
    }
    found = {name: rival() for name, rival in rivals.items()}
    again = rivals["kernel"]()
    return {
        "image_hw": image_hw,
        "ms": {
            name: round(statistics.median(measure_gpu.graph_times_ms(run, rounds)), 4) for name, run in rivals.items()
        },
        "score_difference": float((found["kernel"][0] - found["torch"][0]).abs().max()),
        "differing_px": int((found["kernel"][1] != found["torch"][1]).sum()),
        "same_bits_twice": all(torch.equal(one, two) for one, two in zip(found["kernel"], again, strict=True)),
        "bytes_read": logits.numel() * logits.element_size(),
    }


def with_kernel(logits: "Tensor", scores: "Tensor", tables: "dict[str, Tensor]") -> "tuple[Tensor, Tensor]":
    """Scores (Q,) and the winner's mask (H, W); no number leaves the device on the way."""
    import torch

    from hyperseg_kernels.mask_readout.torch_op import mask_readout

    nothing = torch.empty(1, 0, dtype=torch.int32, device=logits.device)
    sums, areas, _ = mask_readout(logits[None], nothing, **tables)
    products = scores.sigmoid() * (sums.sum(-1) / (areas.sum(-1) + QUALITY_EPSILON))[0]
    winner = logits.index_select(0, products.argmax()[None])
    _, _, pixels = mask_readout(winner[None], torch.zeros_like(areas[:, :1, 0]), **tables)
    return products, pixels[0, 0]


def at_full_size(
    logits: "Tensor", scores: "Tensor", valid_hw: tuple[int, int], image_hw: tuple[int, int]
) -> "tuple[Tensor, Tensor]":
    """The same by way of every mask."""
    from torch.nn.functional import interpolate

    padded = interpolate(logits[None], (PADDED, PADDED), mode="bilinear", align_corners=False)
    full = interpolate(padded[..., : valid_hw[0], : valid_hw[1]], image_hw, mode="bilinear", align_corners=False)[0]
    inside = full > 0
    qualities = (full.sigmoid() * inside).sum((1, 2)) / (inside.sum((1, 2)) + QUALITY_EPSILON)
    products = scores.sigmoid() * qualities
    return products, inside.index_select(0, products.argmax()[None])[0]


if __name__ == "__main__":
    main()
