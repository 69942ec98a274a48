"""The ahead-of-time plugin against TensorRT's own Python layer, whose native library is replaced by stubs."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hyperseg_kernels import native
from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION, PLUGIN_ATTRIBUTES

PROBE = Path(__file__).parent / "aot_probe.py"
STUBS = {  # what the bindings ask of each library
    "libnvinfer.so.11": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getPluginRegistry",
        "getBuilderPluginRegistry",
    ),
    "libnvinfer_plugin.so.11": ("initLibNvInferPlugins",),
    "libnvonnxparser.so.11": (
        "createNvOnnxParser_INTERNAL",
        "createNvOnnxParserRefitter_INTERNAL",
        "getNvOnnxParserVersion",
    ),
}


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if not importlib.util.find_spec("tensorrt_bindings"):
        pytest.skip("tensorrt-cu13-bindings is not installed (there is one for x86-64 Linux)")
    try:
        compiler = native.find_compiler()
    except native.NativeBuildError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("stubs")
    for library, names in STUBS.items():
        source = folder / "stub.cpp"
        source.write_text("\n".join(f'extern "C" void* {name}() {{ return nullptr; }}' for name in names))
        subprocess.run(
            [compiler, "-shared", "-fPIC", f"-Wl,-soname,{library}", source, "-o", folder / library], check=True
        )
    environment = os.environ | {"LD_LIBRARY_PATH": str(folder)}
    finished = subprocess.run([sys.executable, PROBE], capture_output=True, text=True, check=False, env=environment)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def test_is_registered_under_what_the_node_says(probed: Any) -> None:
    namespace, version = PLUGIN_ATTRIBUTES["plugin_namespace"], PLUGIN_ATTRIBUTES["plugin_version"]
    assert probed["registered"] == [namespace, DEFORMABLE_ATTENTION.name, version, ["level_shapes"]]


def test_values_of_three_types_with_float32_locations_and_weights(probed: Any) -> None:
    f32, f16, bf16 = (f"DataType.{name}" for name in ("FLOAT", "HALF", "BF16"))
    assert {tuple(types.split(",")) for types in probed["types"]} == {
        (f32, f32, f32, f32),
        (f16, f32, f32, f16),
        (bf16, f32, f32, bf16),
    }


@pytest.mark.parametrize(
    ("value_type", "tensorrt_name", "channels_per_lane"),
    [("float32", "FLOAT", 4), ("float16", "HALF", 8), ("bfloat16", "BF16", 8)],
)
def test_shape_kernel_and_launch(probed: Any, value_type: str, tensorrt_name: str, channels_per_lane: int) -> None:
    """Batch 2, 70 queries, 8 heads of 32 channels."""
    lanes = 2 * 70 * 8 * 32 // channels_per_lane
    assert probed[value_type] == {
        "output_shape": [2, 70, 256],
        "output_type": tensorrt_name,
        "kernel": f"deformable_attention_{value_type}",
        "is_machine_code": True,
        "grid": [-(-lanes // 256), 1, 1],
        "block": [256, 1, 1],
        "numbers": [lanes, 70],
        "number_types": ["SymInt32", "SymInt32"],
    }


def test_sizes_that_the_kernel_needs_must_not_be_dynamic(probed: Any) -> None:
    assert "the number of points must not be dynamic" in probed["dynamic_points"]["error"]
