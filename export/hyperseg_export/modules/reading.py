"""What small numbers say about many rows, spread out where the rows are: which are seen, picked, averaged."""

import torch
from torch import Tensor, nn

from hyperseg_export.modules.linear import RowPooling


class SlotMask(nn.Module):
    """Start and end of two ranges of cache slots (B, T, 2, 2), numbers of slots (s,) -> may attend (B, 1, T, s)."""

    def forward(self, attended_slots: Tensor, slot_numbers: Tensor) -> Tensor:
        starts, ends = attended_slots[..., None].unbind(3)  # (B, T, 2, 1)
        reused, own = ((slot_numbers >= starts) & (slot_numbers < ends)).unbind(2)
        return (reused | own)[:, None]


class PickedRows(nn.Module):
    """Row numbers (B, R), rows (B, T, D) -> those rows (B, R, D)."""

    def forward(self, numbers: Tensor, rows: Tensor) -> Tensor:
        return rows.gather(1, numbers[:, :, None].expand(-1, -1, rows.shape[2]))


class SpanMeans(nn.Module):
    """Start and end of spans of rows (B, K, 2), rows (B, T, D) -> their means (B, K, D)."""

    def __init__(self) -> None:
        super().__init__()
        self.pooling = RowPooling()

    def forward(self, spans: Tensor, rows: Tensor) -> Tensor:
        starts, ends = spans[..., None].unbind(2)  # (B, K, 1)
        numbers = torch.arange(rows.shape[1], device=rows.device)
        inside = (numbers >= starts) & (numbers < ends)
        return self.pooling(inside.float() / (ends - starts).float(), rows)
