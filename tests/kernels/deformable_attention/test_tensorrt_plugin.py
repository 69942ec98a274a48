"""The C++ plugin: its names everywhere; compiled and asked what TensorRT asks where the tools are."""

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hyperseg_kernels import cuda
from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION, PLUGIN_ATTRIBUTES
from hyperseg_kernels.deformable_attention import cuda_source

PLUGIN = cuda_source.SOURCES / "tensorrt"
FLOAT32, FLOAT16, INT8, BFLOAT16 = 0, 1, 2, 7  # nvinfer1::DataType
FIELD_INT32, FIELD_INT64 = 5, 10  # nvinfer1::PluginFieldType
RANKS = (ctypes.c_int32 * 3)(4, 6, 5)


def test_the_parser_finds_the_plugin_by_what_the_node_says() -> None:
    text = (PLUGIN / "plugin.h").read_text()
    names = dict(re.findall(r'constexpr char k(\w+)\[\] = "(.*)";', text))
    assert names["PluginName"] == DEFORMABLE_ATTENTION.name
    assert {f"plugin_{key}": names[f"Plugin{key.title()}"] for key in ("namespace", "version")} == PLUGIN_ATTRIBUTES
    assert names["LevelShapes"] == "level_shapes"


def test_block_sizes_are_those_of_the_generated_kernels() -> None:
    text = (PLUGIN / "kernels.cu").read_text()
    assert f"kThreads = {cuda.THREADS_PER_BLOCK}" in text
    assert f"kBlocksPerMultiprocessor = {cuda_source.BLOCKS_PER_MULTIPROCESSOR}" in text
    assert f"kWidestLoadBytes = {cuda.LOAD_BYTES}" in text


def test_without_headers_cmake_says_how_to_get_them(tmp_path: Path) -> None:
    if not shutil.which("cmake"):
        pytest.skip("cmake is not installed")
    if tensorrt_root():
        pytest.skip("TensorRT's headers are installed")
    finished = subprocess.run(["cmake", "-S", PLUGIN, "-B", tmp_path], capture_output=True, text=True, check=False)
    message = " ".join(finished.stderr.split())
    assert finished.returncode != 0
    assert "install libnvinfer-dev" in message and "-DTensorRT_ROOT=" in message


def test_kernels_compile_with_nvcc(tmp_path: Path) -> None:
    if not shutil.which("nvcc"):
        pytest.skip("nvcc is not installed")
    command = [
        "nvcc",
        "-std=c++17",
        "-arch=sm_90",
        "-Xptxas",
        "-v",
        "-c",
        PLUGIN / "kernels.cu",
        "-o",
        tmp_path / "k.o",
    ]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    spills = re.findall(r"(\d+) bytes spill stores", log)
    assert len(spills) == 11 and set(spills) == {"0"}  # 3 lanes of fp32, 4 of each 16-bit type


@pytest.fixture(scope="module")
def tensorrt(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The stand-in for TensorRT after it has loaded the plugin, which was built with CMake."""
    root = tensorrt_root()
    missing = [tool for tool in ("cmake", "nvcc") if not shutil.which(tool)]
    if not root or missing:
        pytest.skip(f"not found: {', '.join(missing) or 'NvInfer.h (set TensorRT_ROOT)'}")
    folder = tmp_path_factory.mktemp("plugin")
    fake = folder / "libnvinfer.so"
    source = Path(__file__).parent / "fake_nvinfer.cpp"
    flags = ["-std=c++17", "-shared", "-Xcompiler", "-fPIC", "-Xlinker", f"-soname,{fake.name}", f"-I{root}/include"]
    subprocess.run(["nvcc", *flags, source, "-o", fake], check=True)  # it knows where cuda_runtime_api.h is
    configure = ["cmake", "-S", PLUGIN, "-B", folder, f"-DTENSORRT_INCLUDE={root}/include"]
    configure += [f"-DTENSORRT_LIBRARY={fake}", "-DCMAKE_CUDA_ARCHITECTURES=90"]
    for command in (configure, ["cmake", "--build", folder]):
        subprocess.run(command, check=True, capture_output=True)
    library = ctypes.CDLL(str(fake), mode=ctypes.RTLD_GLOBAL)
    for name in ("registered", "last_message"):
        getattr(library, name).restype = ctypes.c_char_p
    for name in ("create", "supports", "load_library"):
        getattr(library, name).restype = ctypes.c_bool
    library.plugin = ctypes.CDLL(str(folder / "libhyperseg_deformable_attention.so"))
    return library


def test_creator_is_registered_once_however_the_library_is_loaded(tensorrt: Any) -> None:
    """First by being loaded, as Triton does; then by TensorRT, which refuses what is registered already."""
    expected = "hyperseg MultiScaleDeformableAttention 1 hyperseg level_shapes\n"
    assert tensorrt.registered().decode() == expected
    assert tensorrt.load_library(tensorrt.plugin.getCreators)
    assert tensorrt.registered().decode() == expected


def test_fields_of_either_integer_type_make_a_plugin(tensorrt: Any) -> None:
    assert tensorrt.create((ctypes.c_int32 * 4)(2, 3, 4, 5), FIELD_INT32, 4)
    assert tensorrt.create((ctypes.c_int64 * 4)(2, 3, 4, 5), FIELD_INT64, 4)


@pytest.mark.parametrize(("extents", "message"), [([2], "pairs of height, width"), ([0, 4], "no size of a map")])
def test_level_shapes_that_mean_nothing_are_refused(tensorrt: Any, extents: list[int], message: str) -> None:
    assert not tensorrt.create((ctypes.c_int32 * len(extents))(*extents), FIELD_INT32, len(extents))
    assert message in tensorrt.last_message().decode()


def test_types_and_output_shape(tensorrt: Any) -> None:
    assert tensorrt.create((ctypes.c_int32 * 4)(2, 3, 4, 5), FIELD_INT32, 4)
    for value_type in (FLOAT32, FLOAT16, BFLOAT16):
        types = (ctypes.c_int32 * 4)(value_type, FLOAT32, FLOAT32, value_type)
        assert all(tensorrt.supports(types, position) for position in range(4))
        assert tensorrt.output_type(value_type) == value_type
    for position, wrong in enumerate(([INT8, 0, 0, 0], [1, 1, 0, 1], [1, 0, 1, 1], [1, 0, 0, 0])):
        assert not tensorrt.supports((ctypes.c_int32 * 4)(*wrong), position)
    sizes = (ctypes.c_int64 * 15)(6, 26, 8, 32, 6, 7, 8, 2, 4, 2, 6, 7, 8, 2, 4)
    output = (ctypes.c_int64 * 3)()
    assert tensorrt.output_shape(sizes, RANKS, output) == 3
    assert list(output) == [6, 7, 256]
    assert tensorrt.output_shape(sizes, (ctypes.c_int32 * 3)(4, 6, 4), output) == -1


@pytest.mark.parametrize(
    ("value", "weights", "message"),
    [
        ([1, 25, 8, 32], [1, 7, 8, 2, 4], "level_shapes cover 26 rows, value has 25"),
        ([1, 26, 8, 32], [1, 7, 8, 3, 4], "heads or levels"),
        ([1, 26, 8, 32], [1, 7, 4, 2, 4], "heads or levels"),
        ([1, 26, 2**20, 2**10], [1, 7, 2**20, 2, 4], "2^31 values or more"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(tensorrt: Any, value: list[int], weights: list[int], message: str) -> None:
    assert tensorrt.create((ctypes.c_int32 * 4)(2, 3, 4, 5), FIELD_INT32, 4)
    assert tensorrt.shape_change((ctypes.c_int64 * 4)(1, 26, 8, 32), (ctypes.c_int64 * 5)(1, 7, 8, 2, 4)) == 0
    assert tensorrt.shape_change((ctypes.c_int64 * 4)(*value), (ctypes.c_int64 * 5)(*weights)) == -1
    assert message in tensorrt.last_message().decode()


def tensorrt_root() -> Path | None:
    """The folder with include/NvInfer.h, if there is one."""
    roots = (Path(os.environ.get("TensorRT_ROOT", "/usr")), Path("/usr"), Path("/usr/local/tensorrt"))  # noqa: SIM112  (the name CMake asks for)
    return next((root for root in roots if (root / "include" / "NvInfer.h").is_file()), None)
