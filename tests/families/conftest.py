"""Every registered family in turn: its tiny checkpoint and bundle, made once for the whole run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hyperseg_export.families import EXPORT_FAMILIES
from hyperseg_export.families.family import ExportFamily
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import FamilySpec
from support import family_bundle, family_checkpoint


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
def checkpoint_of(shared_dir: Path) -> Callable[[str], Path]:
    return lambda name: family_checkpoint(shared_dir, name)


@pytest.fixture(scope="session")
def bundle_of(shared_dir: Path) -> Callable[[str], Path]:
    return lambda name: family_bundle(shared_dir, name)
