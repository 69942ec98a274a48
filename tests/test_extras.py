"""Each verb works with exactly the packages that the README's pip line for it brings."""

from pathlib import Path

import pytest

from extras import closure, declared, foreign_modules, run_with

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
    base, trt, export = (set(foreign_modules(extra)) for extra in (None, "trt", "export"))
    assert {"torch", "onnx", "safetensors", "tritonclient"} <= base
    assert {"torch", "safetensors", "tritonclient"} <= trt and "onnx" not in trt
    assert "tritonclient" in export and not {"torch", "onnx"} & export
    assert not {"numpy", "pydantic", "typer", "onnxruntime"} & base


def test_both_cudas_come_with_the_same_otherwise() -> None:
    vendors = {"tensorrt", "tensorrt-cu13", "tensorrt-cu13-libs", "tensorrt-cu13-bindings", "tensorrt-cu12"}
    vendors |= {"nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"}
    assert closure(declared("trt")) - vendors == closure(declared("trt-cu12")) - vendors


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("hyperseg_runtime.cli.doctor:doctor", ["--json"]),
        ("hyperseg_runtime.cli.inspect:inspect", ["BUNDLE"]),
        ("hyperseg_runtime.cli.run:run", ["BUNDLE", "IMAGE", "the cup", "--out", "OUT"]),
        ("hyperseg_export.cli.build:build", ["BUNDLE", "--dry-run"]),
    ],
)
def test_verbs_without_an_extra(
    tiny_bundle: Path, coffee: Path, tmp_path: Path, verb: str, arguments: list[str]
) -> None:
    places = {"BUNDLE": tiny_bundle, "IMAGE": coffee, "OUT": tmp_path / "out"}
    done = run_with(None, tmp_path, VERB, verb, *(places.get(argument, argument) for argument in arguments))
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("tensorrt_double")
@pytest.mark.parametrize("extra", ["trt", "trt-cu12"])
@pytest.mark.parametrize("bundle", ["tiny", "mixed"])
def test_engines_are_built_and_compared_with_the_extra_for_them(
    request: pytest.FixtureRequest, tmp_path: Path, extra: str, bundle: str
) -> None:
    import shutil

    copy = shutil.copytree(request.getfixturevalue(f"{bundle}_bundle"), tmp_path / "bundle")
    done = run_with(extra, tmp_path, VERB, "hyperseg_export.cli.build:build", copy, "--graph", "lm_head")
    assert done.returncode == 0, done.stderr
    assert "not measured" not in done.stdout


def test_a_missing_extra_is_one_line(tiny_bundle: Path, tmp_path: Path) -> None:
    done = run_with(None, tmp_path, VERB, "hyperseg_export.cli.build:build", tiny_bundle)
    assert done.returncode == 3 and "run: pip install 'hyperseg-trt[trt]'" in done.stderr
