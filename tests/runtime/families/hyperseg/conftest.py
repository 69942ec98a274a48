"""Dimensions of the tiny bundle and of the published model."""

import pytest

from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.families.hyperseg.published import PUBLISHED
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions


@pytest.fixture(scope="session")
def dims(bundle: Bundle) -> HypersegDimensions:
    return HypersegDimensions.model_validate(bundle.manifest.dimensions)


@pytest.fixture(scope="session")
def real_dims() -> HypersegDimensions:
    """HyperSeg-3B as published."""
    return PUBLISHED
