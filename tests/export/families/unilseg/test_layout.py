"""The layout of a checkpoint, held against the names and shapes of the full-size model."""

import math

from hyperseg_export.families.unilseg.layout import Sizes, tensor_layout
from hyperseg_export.families.unilseg.tiny import TINY
from unilseg_support import published

ELEMENTS = 283_385_436
"""unilseg-spec 12."""


def test_the_default_layout_is_the_published_one() -> None:
    layout = list(tensor_layout(Sizes()))
    found = {name: (shape, str(dtype).removeprefix("torch.")) for name, shape, dtype in layout}
    assert len(layout) == 931
    assert found == published()
    assert sum(math.prod(shape) for _, shape, _ in layout) == ELEMENTS


def test_a_tiny_layout_has_the_same_kinds_of_names() -> None:
    def kinds(names: list[str]) -> set[str]:
        return {".".join("#" if part.isdigit() else part for part in name.split(".")) for name in names}

    assert kinds([name for name, _, _ in tensor_layout(TINY)]) == kinds(list(published()))
