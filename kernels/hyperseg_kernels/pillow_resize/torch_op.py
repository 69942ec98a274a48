"""The operator as a torch op: our kernel on a GPU, the reference elsewhere. For inference: no gradient is defined."""

import torch
from torch import Tensor

from hyperseg_kernels.pillow_resize import reference, torch_cuda
from hyperseg_kernels.pillow_resize.axis import Axis, Tables


@torch.library.custom_op("hyperseg::pillow_resize", mutates_args=())
def pillow_resize(
    pixels: Tensor,
    first_row_index: Tensor,
    first_row_weight: Tensor,
    column_index: Tensor,
    column_weight: Tensor,
    last_row_index: Tensor,
    last_row_weight: Tensor,
) -> Tensor:
    """`reference.resize` of pixels (B, h, w, C) in a float type; tables are int32, those of `axis.Tables`.

    On a GPU the kernel is compiled on the first call; NativeBuildError says what is missing if it cannot be.
    """
    tables = first_row_index, first_row_weight, column_index, column_weight, last_row_index, last_row_weight
    check(pixels, *tables)
    rows, columns, last = (
        Axis(i.numpy(), w.numpy()) for i, w in zip(tables[::2], tables[1::2], strict=True)
    )  # fmt: skip
    made = reference.resize(pixels.float().numpy(), Tables(rows, columns, last))
    return torch.from_numpy(made).to(pixels.dtype)


@pillow_resize.register_kernel("cuda")
def _(
    pixels: Tensor,
    first_row_index: Tensor,
    first_row_weight: Tensor,
    column_index: Tensor,
    column_weight: Tensor,
    last_row_index: Tensor,
    last_row_weight: Tensor,
) -> Tensor:
    tables = first_row_index, first_row_weight, column_index, column_weight, last_row_index, last_row_weight
    check(pixels, *tables)
    return torch_cuda.resize(pixels, *tables)


@pillow_resize.register_fake
def _(
    pixels: Tensor,
    first_row_index: Tensor,
    first_row_weight: Tensor,
    column_index: Tensor,
    column_weight: Tensor,
    last_row_index: Tensor,
    last_row_weight: Tensor,
) -> Tensor:
    return pixels.new_empty(pixels.shape[0], last_row_index.shape[1], column_index.shape[1], pixels.shape[3])


def check(pixels: Tensor, *tables: Tensor) -> None:
    """ValueError where shapes do not fit; what the tables hold is not looked at, `axis.tables` makes them right."""
    shapes = [tuple(table.shape) for table in tables]
    pairs = list(zip(shapes[::2], shapes[1::2], strict=True))
    if pixels.dim() != 4 or any(index != weight or len(index) != 2 for index, weight in pairs):
        raise ValueError(
            f"expected pixels (B, h, w, C) and an index and weight (taps, size) of every axis, not "
            f"{tuple(pixels.shape)} and {shapes}"
        )
