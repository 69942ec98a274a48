"""The shape of the project: where packages lie, what a wheel holds, what a runtime needs."""

import json
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
COMPONENTS = {
    "export": "hyperseg_export",
    "benchmarks": "hyperseg_bench",
    "triton_repo": "hyperseg_serving",
    "runtime": "hyperseg_runtime",
    "kernels": "hyperseg_kernels",
}


@pytest.mark.parametrize("component", COMPONENTS)
def test_component_roots_are_no_packages(component: str) -> None:
    """A package named `kernels` would shadow Hugging Face's, on which transformers' Phi depends."""
    assert not (ROOT / component / "__init__.py").exists()
    assert (ROOT / component / COMPONENTS[component] / "__init__.py").is_file()


def test_the_wheel_holds_every_module_and_no_test(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT]
    subprocess.run(build, check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    sources = {
        str(path.relative_to(ROOT / component))
        for component, package in COMPONENTS.items()
        for path in (ROOT / component / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == sources
    assert {"hyperseg_export/samples/coffee.jpg", "hyperseg_export/cli/export.py"} <= packed


def test_a_runtime_needs_no_exporter_package() -> None:
    """Segmenting loads neither torch nor onnx."""
    program = (
        "import sys, hyperseg_runtime, hyperseg_runtime.cli.run, hyperseg_runtime.reports.html;"
        "import hyperseg_runtime.backends.onnxruntime, hyperseg_runtime.reports.overlay; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "onnx", "onnxscript", "onnx_ir", "safetensors", "transformers", "hyperseg_export"} & set(
        loaded
    )


def test_every_dependency_is_pinned_in_the_constraints() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for path in ROOT.glob("constraints*.txt") for line in path.read_text().split()]
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    for requirement in wanted:
        name = requirement.split("[")[0].split("=")[0].split("<")[0].split(">")[0].lower().replace("_", "-")
        assert name in pinned | {"hyperseg-trt"}, f"{requirement} is in no file of constraints"


def test_no_file_names_a_machine() -> None:
    """The project knows no machine: no home folders, no checkout paths, no temporary folders by name."""
    folders = (*COMPONENTS, "docs", "tests")
    paths = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]  # a file in a work tree
    paths += [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in paths:
        if path.suffix in {".py", ".md", ".toml", ".txt", ".json", ".yml", ".sh", ""}:
            text = path.read_text(encoding="utf-8", errors="ignore")
            for marker in ("/home" + "/", "/root" + "/", "/Users" + "/", "/work" + "/"):
                assert marker not in text, f"{path} names {marker}"


def test_no_stored_result_names_a_folder_of_a_machine() -> None:
    def words(content: Any) -> Iterator[str]:
        for value in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
            yield from words(value)
        if isinstance(content, str):
            yield content

    for path in (ROOT / "benchmarks" / "results").rglob("*.json"):
        assert not [word for word in words(json.loads(path.read_text())) if Path(word).is_absolute()], path
