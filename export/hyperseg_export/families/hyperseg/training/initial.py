"""Values that training starts from: small networks learn faster when attention starts as a convolution."""

import math

import torch
from torch import Tensor

from hyperseg_export.families.hyperseg.layout import Sizes, tensor_layout
from hyperseg_export.modules.swin import relative_position_index

NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))
"""(dy, dx) that the heads of a layer look at first."""
NEIGHBOUR_LOGIT = 5.0
"""Of a Swin window of 64 keys, the neighbour then gets 70 % of the attention."""
LAST_LAYER = 0.15
"""Factor of the layers whose outputs are multiplied with 64 features: masks and scores start near "don't know"."""
POSITION_WAVELENGTHS = (20.0, 6.0, 3.0)
"""Of SigLIP's first position table, in patches."""
POSITION_GAIN = 2.6
"""Of the projections that compare positions; the right neighbour then scores 4 above the next patch."""


def initial_tensors(sizes: Sizes, seed: int) -> dict[str, Tensor]:
    """All tensors of the published layout, float32 (index buffers int64)."""
    generator = torch.Generator().manual_seed(seed)
    made: dict[str, Tensor] = {}
    for name, shape, dtype in tensor_layout(sizes):
        if dtype is torch.int64:
            made[name] = relative_position_index(sizes.swin_window)
        else:
            made[name] = _value(name, shape, sizes, generator)
    _start_siglip_as_convolution(made, sizes)
    return made


def _value(name: str, shape: tuple[int, ...], sizes: Sizes, generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith("relative_position_bias_table"):
        return _neighbour_table(shape, sizes.swin_window, first=4 * int(".blocks.1." in name))
    if name.endswith("sampling_offsets.bias"):
        return _star(sizes.mask_heads)
    if "sampling_offsets" in name or "attention_weights" in name or name.endswith("bias"):
        return torch.zeros(shape)
    if len(shape) == 1:
        return torch.ones(shape)
    if name.endswith("gate.2.weight"):
        return torch.zeros(shape)  # closed: the perceiver's layers hand their latents on
    if name == "lm_head.weight":
        return 0.02 * noise
    if name in ("model.embed_tokens.weight", "seg_query"):
        return 0.5 * noise
    if name == "temporal_query" or name.endswith("_embed.weight") or name.endswith("level_embed"):
        return noise
    scale = 1 / math.sqrt(math.prod(shape[1:]))
    if name in ("predictor.mask_embed.layers.2.weight", "predictor.SEG_proj.layers.1.weight"):
        scale *= LAST_LAYER
    if name.startswith("model.layers.") and ("dense" in name or "fc2" in name):
        scale /= math.sqrt(2 * sizes.layers)
    return scale * noise


def _neighbour_table(shape: tuple[int, ...], window: int, first: int) -> Tensor:
    """Head h of a Swin block prefers the key at NEIGHBOURS[first + h]."""
    rows, heads = shape
    table = torch.zeros(rows, heads)
    for head in range(heads):
        dy, dx = NEIGHBOURS[(first + head) % len(NEIGHBOURS)]
        table[(window - 1 - dy) * (2 * window - 1) + window - 1 - dx, head] = NEIGHBOUR_LOGIT
    return table


def _star(heads: int, levels: int = 3, points: int = 4) -> Tensor:
    """Offsets of Deformable DETR (arXiv 2010.04159): head h looks in direction h, point p at p + 1 pixels."""
    angle = torch.arange(heads) * (2 * math.pi / heads)
    direction = torch.stack((angle.cos(), angle.sin()), dim=-1)
    direction = direction / direction.abs().amax(-1, keepdim=True)
    steps = torch.arange(1, points + 1, dtype=torch.float32)
    return (direction[:, None, None, :] * steps[:, None]).expand(heads, levels, points, 2).reshape(-1)


def _start_siglip_as_convolution(made: dict[str, Tensor], sizes: Sizes) -> None:
    """The leading columns of the position table hold sines; heads compare them shifted by one neighbour.

    With q = R(shift) p and k = p, where R rotates each sine and cosine pair, q k is largest at that shift.
    """
    tower, grid = "model.vision_tower.vision_model", sizes.clip_image_px // sizes.clip_patch_px
    axis = torch.arange(grid, dtype=torch.float32)
    y, x = (part.reshape(-1, 1) for part in torch.meshgrid(axis, axis, indexing="ij"))
    rates = 2 * math.pi / torch.tensor(POSITION_WAVELENGTHS)
    waves = torch.cat([f(part * rates) for part in (y, x) for f in (torch.sin, torch.cos)], dim=1)
    width, head_width = waves.shape[1], sizes.clip_width // sizes.clip_heads
    if width > head_width:
        return  # heads too narrow to hold a position
    table = made[f"{tower}.embeddings.position_embedding.weight"]
    table.mul_(0.02)
    table[:, :width] = waves
    made[f"{tower}.embeddings.patch_embedding.weight"][:width].mul_(0.1)
    for layer in range(sizes.clip_layers):
        attention = f"{tower}.encoder.layers.{layer}.self_attn"
        query, key = made[f"{attention}.q_proj.weight"], made[f"{attention}.k_proj.weight"]
        query.mul_(0.3)
        key.mul_(0.3)
        for head in range(sizes.clip_heads):
            rows = slice(head * head_width, head * head_width + width)
            key[rows, :width] = POSITION_GAIN * torch.eye(width)
            query[rows, :width] = POSITION_GAIN * _shift(rates, NEIGHBOURS[head % len(NEIGHBOURS)])


def _shift(rates: Tensor, offset: tuple[int, int]) -> Tensor:
    """Matrix that turns the waves of a place into those of the place `offset` (dy, dx) away."""
    count = len(rates)
    matrix = torch.zeros(4 * count, 4 * count)
    for axis, distance in enumerate(offset):
        sine, cosine = (slice((2 * axis + part) * count, (2 * axis + part + 1) * count) for part in (0, 1))
        angle = rates * distance
        matrix[sine, sine] = matrix[cosine, cosine] = torch.diag(angle.cos())
        matrix[sine, cosine] = torch.diag(angle.sin())
        matrix[cosine, sine] = -torch.diag(angle.sin())
    return matrix
