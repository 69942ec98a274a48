"""A map of twice the size: a transposed convolution of 2 x 2 samples with stride 2, as a product.

TensorRT-RTX 1.7.1 cannot build Mask DINO in bfloat16 with sums in the bodies of our operators: "Myelin: Could not infer
output types for operation: deconv". No two samples of this convolution overlap, so each pixel's four are one product
with a matrix of four times as many columns: the same sums. It can go when `graphs/rtx_gate.py` builds without it.
"""

from torch import Tensor, nn


class DoubleSize(nn.ConvTranspose2d):
    """(B, C, h, w) -> (B, D, 2h, 2w)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 2, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        batch, channels, height, width = x.shape
        samples = x.permute(0, 2, 3, 1) @ self.weight.reshape(channels, -1)  # (B, h, w, D * 2 * 2)
        samples = samples.reshape(batch, height, width, self.out_channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
        assert self.bias is not None
        return samples.reshape(batch, self.out_channels, 2 * height, 2 * width) + self.bias[:, None, None]
