"""The ahead-of-time plugins against TensorRT's own Python layer, whose native library is replaced by stubs."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hyperseg_kernels import native
from hyperseg_kernels.catalog import (
    DEFORMABLE_ATTENTION,
    MASK_READOUT,
    PILLOW_RESIZE,
    PLUGIN_ATTRIBUTES,
    PROJECTED_ATTENTION,
)

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


def test_are_registered_under_what_the_nodes_say(probed: Any) -> None:
    namespace, version = PLUGIN_ATTRIBUTES["plugin_namespace"], PLUGIN_ATTRIBUTES["plugin_version"]
    fields = {DEFORMABLE_ATTENTION: ["level_shapes"], PROJECTED_ATTENTION: ["level_shapes"]}
    fields |= {MASK_READOUT: [], PILLOW_RESIZE: []}
    assert probed["registered"] == [[namespace, one.name, version, names] for one, names in fields.items()]


def test_values_of_three_types_the_rest_fixed(probed: Any) -> None:
    values = "FLOAT", "HALF", "BF16"
    assert probed["types"] == {
        "given": sorted(f"{value},FLOAT,FLOAT,{value}" for value in values),
        "projected": sorted(f"{value},FLOAT,{value},{value},{value}" for value in values),
        "masks": sorted(f"{value},INT32,INT32,FLOAT,INT32,FLOAT,FLOAT,INT32,BOOL" for value in values),
        "resized": sorted(f"{value},INT32,INT32,INT32,INT32,INT32,INT32,{value}" for value in values),
    }


@pytest.mark.parametrize("form", ["given", "projected"])
@pytest.mark.parametrize(
    ("value_type", "tensorrt_name", "channels_per_lane"),
    [("float32", "FLOAT", 4), ("float16", "HALF", 8), ("bfloat16", "BF16", 8)],
)
def test_attention(probed: Any, form: str, value_type: str, tensorrt_name: str, channels_per_lane: int) -> None:
    """Batch 2, 70 queries, 8 heads of 32 channels; reference points are those of all images and levels."""
    lanes = 2 * 70 * 8 * 32 // channels_per_lane
    kernels = {
        "given": f"deformable_attention_{value_type}",
        "projected": f"projected_deformable_attention_{value_type}_point",
    }
    assert probed[form][value_type] == {
        "outputs": [[tensorrt_name, 2, 70, 256]],
        "kernel": kernels[form],
        "is_machine_code": True,
        "grid": [-(-lanes // 256), 1, 1],
        "block": [256, 1, 1],
        "shared_bytes": 0,
        "numbers": [lanes, 70] if form == "given" else [lanes, 70, 0, 0],
        "number_types": ["SymInt32"],
    }


def test_references_of_every_image_and_level(probed: Any) -> None:
    boxes = probed["boxes of every image"]
    assert boxes["kernel"].endswith("_box") and boxes["numbers"][2:] == [70 * 2 * 4, 4]
    assert probed["points of a dynamic batch"]["numbers"][2:] == [70 * 2 * 2, 2]


@pytest.mark.parametrize("value_type", ["float32", "float16", "bfloat16"])
def test_masks(probed: Any, value_type: str) -> None:
    """Two images of 480 x 640, 100 queries of 200 x 256, 3 masks, all in 32 parts; 16 warps keep two lines of 1 KB."""
    assert probed["masks"][value_type] == {
        "outputs": [["FLOAT", 2, 100, 32], ["INT32", 2, 100, 32], ["BOOL", 2, 3, 480, 640]],
        "kernel": f"mask_readout_{value_type}",
        "is_machine_code": True,
        "grid": [2 * 32 * (100 + 3), 1, 1],
        "block": [512, 1, 1],
        "shared_bytes": 2 * 16 * 1024,
        "numbers": [100, 3, 200, 256, 480, 640],
        "number_types": ["SymInt32"],
    }
    wide = probed["wide masks"]
    assert (wide["block"][0], wide["shared_bytes"]) == (32, 2 * 16000)


@pytest.mark.parametrize("value_type", ["float32", "float16", "bfloat16"])
def test_resized_images(probed: Any, value_type: str) -> None:
    tiles = 2 * (512 // 16) * (384 * 3 // 64)
    assert probed["resized"][value_type] == {
        "outputs": [[{"float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16"}[value_type], 2, 512, 384, 3]],
        "kernel": f"pillow_resize_{value_type}",
        "is_machine_code": True,
        "grid": [tiles, 1, 1],
        "block": [256, 1, 1],
        "shared_bytes": 0,
        "numbers": [1000, 600, 3, 1, 1000, 5, 384, 5, 512],
        "number_types": ["SymInt32"],
    }


def test_sizes_that_a_kernel_needs_must_not_be_dynamic(probed: Any) -> None:
    given, projected, masks = (made["error"] for made in probed["dynamic"])
    assert "the number of points must not be dynamic" in given
    assert "the number of references of a query must not be dynamic" in projected
    assert "the number of columns of mask_logits must not be dynamic" in masks
