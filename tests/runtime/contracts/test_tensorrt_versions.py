"""Which releases are refused, and what is said about the others."""

import pytest

from hyperseg_runtime.contracts.tensorrt_versions import DEFECTS, defects_of, require_usable
from hyperseg_runtime.errors import EnvironmentMissingError


@pytest.mark.parametrize("version", ["10.15.1.29", "10.16.0.72", "11.0.0.1", "11.4.0.106"])
def test_usable_releases_pass(version: str) -> None:
    require_usable(version)


@pytest.mark.parametrize("version", ["8.6.1", "10.2.0", "10.14.1.48", "12.0.0.1"])
def test_others_are_refused_with_what_to_do(version: str) -> None:
    with pytest.raises(EnvironmentMissingError, match=rf"10.15 to 11.x is needed, found {version}; run: pip install"):
        require_usable(version)


@pytest.mark.parametrize(
    ("version", "references"),
    [
        ("10.15.1", ["NVIDIA/TensorRT#4813"]),
        ("10.16.1", ["NVIDIA/TensorRT#4813", "NVIDIA/TensorRT#4780"]),
        ("11.1.0", ["NVIDIA/TensorRT#4813", "NVIDIA/TensorRT#4849"]),
        ("11.4.0.106", []),
    ],
)
def test_defects_of_a_release_are_named(version: str, references: list[str]) -> None:
    assert [defect.reference for defect in defects_of(version)] == references


def test_every_defect_says_what_follows_from_it() -> None:
    assert all(d.first <= d.last and d.symptom and d.consequence and "#" in d.reference for d in DEFECTS)
