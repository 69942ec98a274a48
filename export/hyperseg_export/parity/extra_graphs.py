"""Graphs outside the product that golden arrays are compared with: a part of it at another size, or more of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from hyperseg_export.modules.swin import SwinConfig, SwinTransformer
from hyperseg_export.parity.probes import NO_PROBE, Probe
from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec

NamedShapes = Sequence[tuple[str, tuple[int | str, ...]]]


@dataclass(frozen=True)
class ExtraGraph:
    """A graph outside the product: its contract, how to build it, its probe."""

    spec: GraphSpec
    build: Callable[[], nn.Module]
    probe: Probe = NO_PROBE


def float_spec(name: str, inputs: NamedShapes, outputs: NamedShapes, *axes: str) -> GraphSpec:
    """A float32 contract with a batch axis in front of every shape."""

    def tensors(shapes: NamedShapes) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(name=name, dtype=DType.FLOAT32, axes=("batch", *shape)) for name, shape in shapes)

    ranges = {axis: AxisRange(minimum=1, typical=2, maximum=64) for axis in ("batch", *axes)}
    return GraphSpec(name=name, inputs=tensors(inputs), outputs=tensors(outputs), axis_ranges=ranges, reuse=Reuse.IMAGE)


class SwinAtSize(nn.Module):
    """An image encoder at another image size."""

    def __init__(self, config: SwinConfig, image_hw: tuple[int, int]) -> None:
        super().__init__()
        self.swin = SwinTransformer(config, image_hw)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.swin(images)


def swin_at_size(config: SwinConfig, image_hw: tuple[int, int], probe: Probe = NO_PROBE) -> ExtraGraph:
    shapes = zip(config.channels, config.map_shapes(image_hw), strict=True)
    outputs = [(f"res{level}", (channels, *shape)) for level, (channels, shape) in enumerate(shapes, 2)]
    spec = float_spec("swin_at_size", [("images", (3, *image_hw))], outputs)
    return ExtraGraph(spec, lambda: SwinAtSize(config, image_hw), probe)
