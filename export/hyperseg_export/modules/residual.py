"""Where a sum over many layers begins."""

from torch import nn

from hyperseg_export.modules.islands import Island


class ResidualStream(nn.Identity):
    """Passes its input on. A graph of low precision keeps what comes out of it in float32, and with it every
    sum it takes part in."""

    island = Island(
        "sums over 26 (SigLIP) and 32 (Phi-2) layers: drift of fp16 flips answers between builds "
        "(NVIDIA/TensorRT-Model-Connect#812, NVIDIA/TensorRT#4373), bf16 has 8 bits for them",
        stays_wide=True,
    )
