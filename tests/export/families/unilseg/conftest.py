"""Small UniLSeg models, and what the original code made of one."""

from pathlib import Path

import pytest

from unilseg_support import GOLDEN


@pytest.fixture(scope="session")
def unilseg_golden() -> Path:
    """Arrays made by the original code; read only."""
    return GOLDEN
