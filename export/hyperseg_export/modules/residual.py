"""Where a sum over many layers begins."""

from torch import nn


class ResidualStream(nn.Identity):
    """Passes its input on. A graph of low precision keeps what comes out of it in float32, and with it every
    sum it takes part in (see `precision.ISLANDS`)."""
