"""Every registered family in turn: its tiny checkpoint and bundle, made once for the whole run."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hyperseg_export.families.family import ExportFamily
from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import FamilySpec
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.session.pipeline import Pipeline
from support import family_bundle, family_checkpoint, others_slow

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a bundle is slow for all families but the first."""
    for item in items:
        if isinstance(item, pytest.Function) and item.path.parent == HERE and "family_bundle_dir" in item.fixturenames:
            for mark in others_slow(item.callspec.params["name"]):
                item.add_marker(mark)


@pytest.fixture(params=FAMILIES, scope="session")
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def family(name: str) -> FamilySpec:
    return FAMILIES[name]


@pytest.fixture(scope="session")
def export_family(name: str) -> ExportFamily:
    return EXPORT_FAMILIES[name]


@pytest.fixture(scope="session")
def family_checkpoint_dir(shared_dir: Path, name: str) -> Path:
    return family_checkpoint(shared_dir, name)


@pytest.fixture(scope="session")
def family_bundle_dir(shared_dir: Path, name: str) -> Path:
    return family_bundle(shared_dir, name)


@pytest.fixture(scope="session")
def family_pipeline(family_bundle_dir: Path) -> Iterator[Pipeline]:
    """One that remembers no image: every session computes everything."""
    with Pipeline.load(family_bundle_dir, "onnxruntime", cache_bytes=0, threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def pixels(coffee: Path) -> np.ndarray:
    """A photograph, (400, 600, 3) uint8."""
    return load_image(coffee)
