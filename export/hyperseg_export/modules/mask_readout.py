"""From the logits of all queries to the best mask of each condition, at the size of the image (hyperseg-spec 6.8)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from hyperseg_export.modules.constants import ConstantModule
from hyperseg_kernels.mask_readout.reference import QUALITY_EPSILON
from hyperseg_kernels.mask_readout.torch_op import mask_readout

LARGEST = torch.finfo(torch.float32).max


class BestMasks(nn.Module):
    """The first query of the best score, as `heads.referring.all_queries` scores them all.

    mask_logits (B, Q, h, w), score_logits (B, Q, K), the tables of `hyperseg_kernels.mask_readout.axis` with int64
    indices -> queries (B, K) int64, scores (B, K), bits (B, K, H, ceil(W / 8)) uint8 in the order of `numpy.packbits`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bits = Bits()

    def forward(
        self,
        mask_logits: Tensor,
        score_logits: Tensor,
        row_index: Tensor,
        row_weight: Tensor,
        column_index: Tensor,
        column_weight: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tables = row_index.int(), row_weight, column_index.int(), column_weight
        # Pixels are wanted of no query yet, but an engine's tensors had better not be empty.
        any_one = torch.zeros_like(score_logits[:, :1, 0]).int()
        sums, areas, _ = mask_readout(mask_logits, any_one, *tables)
        qualities = sums.sum(-1) / (areas.sum(-1) + QUALITY_EPSILON)
        scores = certainty(score_logits) * qualities[:, :, None]
        best = scores.amax(1)
        queries = first_where(scores == best[:, None])
        # take_along_dim is written with the batch of the stand-in inputs in it (torch 2.13).
        chosen = mask_logits.gather(1, queries[:, :, None, None].expand(-1, -1, *mask_logits.shape[2:]))
        all_chosen = torch.zeros_like(queries).int() + torch.arange(queries.shape[1], device=queries.device).int()
        _, _, inside = mask_readout(chosen, all_chosen, *tables)
        return queries, best, self.bits(inside)


def certainty(logits: Tensor) -> Tensor:
    """The sigmoid, as exact where it is nearly 0.

    ONNX Runtime 1.31's Sigmoid on a CPU is good to 1e-7, which is as much as the whole number at -16 and nothing at all
    from -18 on: the best of a hundred queries that are all sure to be wrong was another one. Exp is good everywhere. It
    can go when test_the_best_of_unlikely_queries_is_found_by_a_graph_too passes without it.
    """
    return 1 / (1 + (-logits.float()).exp())


def first_where(found: Tensor) -> Tensor:
    """Index along axis 1 of the first that is true, or of the last of all: TensorRT's ArgMax says nothing of ties."""
    last = found.shape[1] - 1
    places = torch.arange(last + 1, dtype=torch.float32, device=found.device)[:, None]
    return torch.where(found, places, float(last)).amin(1).long()


class Bits(ConstantModule):
    """(B, K, H, W) bool -> (B, K, H, ceil(W / 8)) uint8, as `numpy.packbits`: a convolution, exact in any type."""

    def __init__(self) -> None:
        super().__init__()
        self.register_constant("values", lambda: 2.0 ** torch.arange(7, -1, -1, dtype=torch.float32))

    def forward(self, inside: Tensor) -> Tensor:
        rows = pad(inside.float().flatten(0, 1)[:, None], (0, 7))
        packed = conv2d(rows, self.get_buffer("values")[None, None, None], stride=(1, 8))
        return packed.unflatten(0, inside.shape[:2])[:, :, 0].to(torch.uint8)


def all_finite(*tensors: Tensor) -> Tensor:
    """Whether every number of each batch is one, (B,) bool. A comparison with NaN is false; a maximum may hide it."""
    fine = [(tensor.abs() <= LARGEST).float().flatten(1).amin(1) for tensor in tensors]
    return torch.stack(fine).amin(0) > 0
