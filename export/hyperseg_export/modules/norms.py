"""Normalisations, which stay float32."""

from torch import nn

from hyperseg_export.modules.islands import Island

SUMS = Island("mean and variance sum thousands of squares")


class LayerNorm(nn.LayerNorm):
    island = SUMS


class GroupNorm(nn.GroupNorm):
    island = SUMS
