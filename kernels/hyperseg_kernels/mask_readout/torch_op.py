"""The operator as a torch op: our kernel on a GPU, the reference elsewhere. For inference: no gradient is defined."""

import torch
from torch import Tensor

from hyperseg_kernels.cuda.torch_launch import sum_type
from hyperseg_kernels.mask_readout import reference, torch_cuda
from hyperseg_kernels.mask_readout.axis import TAPS, Axis
from hyperseg_kernels.mask_readout.reference import PARTS


@torch.library.custom_op("hyperseg::mask_readout", mutates_args=())
def mask_readout(
    mask_logits: Tensor,
    shown: Tensor,
    row_index: Tensor,
    row_weight: Tensor,
    column_index: Tensor,
    column_weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """(sums, areas, pixels) of `reference.read_masks`: float32, int32 and bool; tables are those of `axis.Axis`.

    On a GPU logits may be float32, float16 or bfloat16, and the kernel is compiled on the first call;
    NativeBuildError says what is missing if it cannot be.
    """
    check(mask_logits, shown, row_index, row_weight, column_index, column_weight)
    rows = Axis(row_index.numpy(), row_weight.numpy())
    columns = Axis(column_index.numpy(), column_weight.numpy())
    made = reference.read_masks(sum_type(mask_logits).numpy(), shown.numpy(), rows, columns)
    return torch.from_numpy(made.sums).float(), torch.from_numpy(made.areas), torch.from_numpy(made.pixels)


@mask_readout.register_kernel("cuda")
def _(
    mask_logits: Tensor,
    shown: Tensor,
    row_index: Tensor,
    row_weight: Tensor,
    column_index: Tensor,
    column_weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    check(mask_logits, shown, row_index, row_weight, column_index, column_weight)
    return torch_cuda.read_masks(mask_logits, shown, row_index, row_weight, column_index, column_weight)


@mask_readout.register_fake
def _(
    mask_logits: Tensor,
    shown: Tensor,
    row_index: Tensor,
    row_weight: Tensor,
    column_index: Tensor,
    column_weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    images, queries = mask_logits.shape[:2]
    sums = mask_logits.new_empty(images, queries, PARTS, dtype=torch.float32)
    areas = mask_logits.new_empty(images, queries, PARTS, dtype=torch.int32)
    size = images, shown.shape[1], row_index.shape[1], column_index.shape[1]
    return sums, areas, mask_logits.new_empty(size, dtype=torch.bool)


def check(mask_logits: Tensor, shown: Tensor, *tables: Tensor) -> None:
    """ValueError where shapes do not fit; what the tables hold is not looked at, `axis.axis` makes them right."""
    if mask_logits.dim() != 4 or shown.dim() != 2 or shown.shape[0] != mask_logits.shape[0]:
        raise ValueError(
            f"expected mask_logits (B, Q, h, w) and shown (B, M), not {tuple(mask_logits.shape)} and "
            f"{tuple(shown.shape)}"
        )
    shapes = [tuple(table.shape) for table in tables]
    if shapes[0] != shapes[1] or shapes[2] != shapes[3] or any(len(s) != 2 or s[0] != TAPS for s in shapes):
        raise ValueError(f"expected row tables ({TAPS}, H) and column tables ({TAPS}, W), not {shapes}")
