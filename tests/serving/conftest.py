"""What tests of serving share: a repository of the tiny bundle, the local server, pictures as bytes."""

import io
from pathlib import Path

import pytest
from PIL import Image

from hyperseg_runtime.errors import EnvironmentMissingError
from hyperseg_serving.repository.writer import plan_of, write_repository
from hyperseg_serving.server.distribution import Distribution, find_distribution
from support import made_once


@pytest.fixture(scope="session")
def repository(shared_dir: Path, tiny_bundle: Path) -> Path:
    """The model repository of the tiny bundle; read only."""
    return made_once(shared_dir / "repository", lambda folder: write_repository(folder, *plan_of(tiny_bundle)))


@pytest.fixture(scope="session")
def distribution() -> Distribution:
    """The local server; `make test` installs it."""
    try:
        found = find_distribution()
    except EnvironmentMissingError as error:
        pytest.skip(str(error))
    if not found.is_local:
        pytest.skip("these tests know the messages of the local server, and there is another one on the path")
    return found


@pytest.fixture(scope="session")
def coffee_bytes(coffee: Path) -> bytes:
    return coffee.read_bytes()


@pytest.fixture(scope="session")
def bomb() -> bytes:
    """A small file of 144 million pixels."""
    file = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(file, "PNG")
    return file.getvalue()
