"""What tests of key maps share: a checkpoint that may not be read, and what a map takes from one."""

from collections.abc import Mapping

from torch import Tensor

from hyperseg_export.checkpoint.key_map import KeyMap

Shapes = dict[str, tuple[int, ...]]


class ShapesOnly:
    """A checkpoint nobody may read."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = shapes

    def tensor(self, name: str) -> Tensor:
        raise AssertionError(f"{name} was read")


def used_by(key_map: KeyMap) -> set[str]:
    """Names of the checkpoint's tensors that ours are made of."""
    return {source for origin in key_map.origins.values() for source in origin.sources}
