"""Inputs of the kinds that people report, as copies to write beside."""

import shutil
from pathlib import Path

import pytest

FILES = Path(__file__).parent / "files"


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A copy of all case files."""
    return Path(shutil.copytree(FILES, tmp_path / "files"))
