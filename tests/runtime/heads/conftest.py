"""Logits and results of PSALM's own result functions."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

Arrays = Mapping[str, np.ndarray]
GOLDEN = Path(__file__).parents[2] / "golden" / "psalm"


@pytest.fixture(scope="session")
def psalm() -> Callable[[str], Arrays]:
    """Arrays of one golden file, read once."""
    read: dict[str, Arrays] = {}

    def arrays(name: str) -> Arrays:
        if name not in read:
            with np.load(GOLDEN / f"{name}.npz") as file:
                read[name] = dict(file)
        return read[name]

    return arrays
