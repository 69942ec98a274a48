"""What tests of serving share: a repository of the tiny bundle, pictures as bytes."""

import io
from pathlib import Path

import pytest
from PIL import Image

from hyperseg_serving.repository.writer import bundle_spec, write_repository
from support import made_once


@pytest.fixture(scope="session")
def repository(shared_dir: Path, tiny_bundle: Path) -> Path:
    """The model repository of the tiny bundle; read only."""
    return made_once(shared_dir / "repository", lambda folder: write_repository(folder, *bundle_spec(tiny_bundle)))


@pytest.fixture(scope="session")
def coffee_bytes(coffee: Path) -> bytes:
    return coffee.read_bytes()


@pytest.fixture(scope="session")
def bomb() -> bytes:
    """A small file of 144 million pixels."""
    file = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(file, "PNG")
    return file.getvalue()
