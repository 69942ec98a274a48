"""Each verb works with exactly the packages that the README's pip line for it brings."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from extras import closure, declared, extras_in, foreign_modules, normal, run_with

ROOT = Path(__file__).parent.parent

VERB = """
import importlib, sys
import typer
from hyperseg_runtime import console
module, name = sys.argv.pop(1).split(":")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command(name)(getattr(importlib.import_module(module), name))
console.run_app(app)
"""
"""One verb alone: whether the others can be imported is their own test."""


def test_an_extra_brings_its_packages_and_no_others() -> None:
    base, trt, export = (set(foreign_modules(extra)) for extra in (None, "cpu,trt", "cpu,export"))
    assert {"torch", "onnx", "onnxruntime", "safetensors", "tritonclient"} <= base
    assert {"torch", "safetensors", "tritonclient"} <= trt and "onnx" not in trt
    assert "tritonclient" in export and not {"torch", "onnx"} & export
    assert not {"numpy", "pydantic", "typer"} & base and "onnxruntime" not in trt | export


def test_both_cudas_come_with_the_same_otherwise() -> None:
    vendors = {"tensorrt", "tensorrt-cu13", "tensorrt-cu13-libs", "tensorrt-cu13-bindings", "tensorrt-cu12"}
    vendors |= {"nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"}
    assert closure(declared("trt")) - vendors == closure(declared("trt-cu12")) - vendors


@pytest.mark.parametrize(
    ("extra", "verb", "arguments"),
    [
        (None, "hyperseg_runtime.cli.doctor:doctor", ["--json"]),
        (None, "hyperseg_runtime.cli.inspect:inspect", ["BUNDLE"]),
        ("cpu", "hyperseg_runtime.cli.run:run", ["BUNDLE", "IMAGE", "the cup", "--out", "OUT"]),
        ("cpu", "hyperseg_export.cli.build:build", ["BUNDLE", "--dry-run"]),
    ],
)
def test_verbs_that_need_little(
    tiny_bundle: Path, coffee: Path, tmp_path: Path, extra: str | None, verb: str, arguments: list[str]
) -> None:
    places = {"BUNDLE": tiny_bundle, "IMAGE": coffee, "OUT": tmp_path / "out"}
    done = run_with(extra, tmp_path, VERB, verb, *(places.get(argument, argument) for argument in arguments))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("tensorrt_double")
@pytest.mark.parametrize("extra", ["cpu,trt", "cpu,trt-cu12"])
@pytest.mark.parametrize("bundle", ["tiny", "mixed"])
def test_engines_are_built_and_compared_with_the_extra_for_them(
    request: pytest.FixtureRequest, tmp_path: Path, extra: str, bundle: str
) -> None:
    import shutil

    copy = shutil.copytree(request.getfixturevalue(f"{bundle}_bundle"), tmp_path / "bundle")
    done = run_with(extra, tmp_path, VERB, "hyperseg_export.cli.build:build", copy, "--graph", "lm_head")
    assert done.returncode == 0, done.stderr
    assert "not measured" not in done.stdout


def test_one_of_the_two_onnx_runtimes_stands_in_every_line() -> None:
    """Whatever makes an environment; messages of the program add to one that is there, and name neither."""
    places = [*ROOT.glob("*.md"), *ROOT.glob("*/**/*.md"), *ROOT.glob("triton_repo/Dockerfile"), ROOT / "Makefile"]
    texts = {path: path.read_text(encoding="utf-8") for path in places if not {".venv", "build"} & set(path.parts)}
    lines = {path: extras_in(text) for path, text in texts.items()}
    naming = {str(path.relative_to(ROOT)) for path, named in lines.items() if named}
    assert naming >= {"README.md", "triton_repo/README.md", "triton_repo/Dockerfile", "Makefile"}
    for path, named in lines.items():
        assert all(len(extras & {"cpu", "gpu"}) == 1 for extras in named), f"{path}: {named}"
    assert not [path for path, text in texts.items() if re.search(r"pip install (-c \S+ )?\.(\s|`|$)", text)]


@pytest.mark.parametrize(
    ("constraints", "extras"),
    [
        ("constraints.txt", "dev,export,triton"),
        ("constraints-cu13.txt", "gpu,trt"),
        ("constraints-cu12.txt", "cpu,trt-cu12"),
    ],
)
def test_the_pins_fit_what_the_extras_ask_for(constraints: str, extras: str) -> None:
    pins = pinned(constraints)
    for text in declared(extras):
        wanted = Requirement(text)
        assert wanted.name == "hyperseg-trt" or wanted.specifier.contains(pins[normal(wanted.name)]), text


def pinned(constraints: str) -> dict[str, str]:
    """What a file of constraints pins, and the one it begins with."""
    found: dict[str, str] = {}
    for line in (ROOT / constraints).read_text().splitlines():
        if line.startswith("-c "):
            found |= pinned(line.removeprefix("-c "))
        elif "==" in line:
            name, version = line.split("==")
            assert normal(name) not in found, f"{name} is pinned twice"
            found[normal(name)] = version
    return found


def test_without_onnx_runtime_one_line_says_which_two_there_are(
    tiny_bundle: Path, coffee: Path, tmp_path: Path
) -> None:
    done = run_with(
        None, tmp_path, VERB, "hyperseg_runtime.cli.run:run", tiny_bundle, coffee, "the cup", "--out", tmp_path
    )
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    assert "pip install 'hyperseg-trt[cpu]', or 'hyperseg-trt[gpu]'" in done.stderr


def test_a_missing_extra_is_one_line(tiny_bundle: Path, tmp_path: Path) -> None:
    done = run_with("cpu", tmp_path, VERB, "hyperseg_export.cli.build:build", tiny_bundle)
    assert done.returncode == 3 and "run: pip install 'hyperseg-trt[trt]'" in done.stderr
