"""What is released: a wheel and a source distribution with what they need and nothing else, in clean environments.

`make dist` checks the files that it built and named in $HYPERSEG_DIST; otherwise they are built here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from configparser import ConfigParser
from importlib.metadata import EntryPoint, version
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pytest
from packaging.metadata import Metadata
from PIL import Image

from support import RunCli

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = [Path(folder) for folder in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
PYTHONS = [name for name in os.environ.get("HYPERSEG_PYTHONS", "").split(os.pathsep) if name] or [sys.executable]
CLEAN = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
"""No home, no terminal, no locale that knows more than ASCII."""


class Released(NamedTuple):
    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    folder = Path(os.environ.get("HYPERSEG_DIST") or tmp_path_factory.mktemp("dist"))
    if not list(folder.glob("*.whl")):
        subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Released(wheel, sdist)


def files_of(packages: list[Path]) -> set[str]:
    """Files of the packages, as the repository has them, by their names in a source distribution."""
    found = (path for package in packages for path in (ROOT / package).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts}


def test_the_wheel_holds_the_packages_and_nothing_else(released: Released) -> None:
    with zipfile.ZipFile(released.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {PurePosixPath(*PurePosixPath(name).parts[1:]).as_posix() for name in files_of(PACKAGES)}


def test_the_source_distribution_is_the_repository_without_golden_arrays(released: Released) -> None:
    with tarfile.open(released.sdist) as sdist:
        names = {"/".join(name.split("/")[1:]) for name in sdist.getnames()}
    assert files_of(PACKAGES) <= names
    assert {
        "pyproject.toml",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "constraints.txt",
        "PKG-INFO",
    } <= names
    assert {"tests/conftest.py", "triton_repo/Dockerfile", "docs/README.md"} <= names
    assert not [name for name in names if re.search(r"(^|/)(\.venv|build|dist|__pycache__|golden|\.hypothesis)/", name)]
    assert released.sdist.stat().st_size < 20e6 and released.wheel.stat().st_size < 15e6


def test_metadata_and_licences(released: Released) -> None:
    """By packaging's own rules (PEP 566, 639), as an index applies them."""
    with zipfile.ZipFile(released.wheel) as wheel:
        info = next(name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name)
        metadata = Metadata.from_email(wheel.read(f"{info}/METADATA"), validate=True)
        licences = {name for name in wheel.namelist() if name.startswith(f"{info}/licenses/")}
        points = ConfigParser()
        points.read_string(wheel.read(f"{info}/entry_points.txt").decode())
        names = set(wheel.namelist())
    project = PROJECT["project"]
    assert (metadata.name, str(metadata.version)) == (project["name"], project["version"])
    assert str(metadata.requires_python) == project["requires-python"] == ">=3.11"
    assert metadata.license_expression == "Apache-2.0"
    assert metadata.description == (ROOT / "README.md").read_text()
    assert licences == {f"{info}/licenses/{name}" for name in project["license-files"]} and len(licences) > 1
    modules = [point.split(":")[0] for group in points.sections() for point in points[group].values()]
    assert modules and {f"{module.replace('.', '/')}.py" for module in modules} <= names


def test_the_version_stands_in_one_place() -> None:
    """pyproject.toml; what is installed says it, and the newest entry of the change log is about it."""
    stated = PROJECT["project"]["version"]
    assert version("hyperseg-trt") == stated
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == stated
    elsewhere = [
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if re.search(rf"""["']{re.escape(stated)}["']""", path.read_text())
    ]
    assert not elsewhere


def test_every_entry_point_leads_somewhere() -> None:
    """One that does not would take the whole command with it; what is installed here may be older than the project."""
    points = [("scripts", PROJECT["project"]["scripts"]), *PROJECT["project"]["entry-points"].items()]
    for group, named in points:
        for name, value in named.items():
            assert callable(EntryPoint(name, value, group).load())


@pytest.mark.full
def test_the_source_distribution_builds_the_same_wheel(released: Released, tmp_path: Path) -> None:
    with tarfile.open(released.sdist) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"], cwd=source, check=True)
    (again,) = (source / "dist").glob("*.whl")
    with zipfile.ZipFile(again) as one, zipfile.ZipFile(released.wheel) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {i.filename: i.CRC for i in other.infolist()}


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("python", PYTHONS)
def test_a_clean_environment(
    released: Released, python: str, tiny_bundle: Path, coffee: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    """The wheel alone, from a registry: masks are those of this environment, missing extras are one line each."""
    found = shutil.which(python)
    if found is None:
        pytest.skip(f"no {python} on this machine")
    subprocess.run([found, "-m", "venv", tmp_path / "venv"], check=True)
    pip = [tmp_path / "venv" / "bin" / "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
    subprocess.run([*pip, f"{released.wheel}[cpu]"], check=True)

    def verb(*arguments: object) -> subprocess.CompletedProcess[str]:
        program = tmp_path / "venv" / "bin" / "hyperseg-trt"
        done = subprocess.run(
            [program, *map(str, arguments)], env=CLEAN, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True,
            encoding="ascii", check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr + done.stdout
        return done

    done = verb("run", tiny_bundle, coffee, "the cup", "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    assert run_cli("run", tiny_bundle, coffee, "the cup", "--out", tmp_path / "here").code == 0
    masks = [np.asarray(Image.open(tmp_path / place / "coffee.jpg.mask.png")) for place in ("out", "here")]
    assert np.array_equal(*masks) and json.loads(done.stdout)["asked"] == ["the cup"]
    assert verb("inspect", tiny_bundle).returncode == verb("--help").returncode == 0
    parts: dict[str, Any] = {part["part"]: part for part in json.loads(verb("doctor", "--json").stdout)["findings"]}
    assert parts["onnxruntime"]["works"] and not parts["torch"]["works"]
    for extra, arguments in (
        ("export", ("export", "checkpoint", "bundle")),
        ("trt", ("build", tiny_bundle)),
        ("triton", ("serve", "init", tiny_bundle, "--out", "repository")),
    ):
        done = verb(*arguments)
        assert done.returncode == 3 and f"pip install 'hyperseg-trt[{extra}]'" in done.stderr
