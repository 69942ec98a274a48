"""The C++ plugins: their names everywhere; compiled and asked what TensorRT asks where the tools are."""

import ctypes
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hyperseg_kernels.catalog import (
    DEFORMABLE_ATTENTION,
    KERNELS,
    MASK_READOUT,
    PILLOW_RESIZE,
    PLUGIN_ATTRIBUTES,
)
from hyperseg_kernels.catalog import PROJECTED_ATTENTION as PROJECTED
from hyperseg_kernels.cuda import source as cuda
from hyperseg_kernels.deformable_attention import cuda_source as attention_source
from hyperseg_kernels.mask_readout import cuda_source as readout_source
from hyperseg_kernels.pillow_resize import cuda_source as resize_source

PLUGINS = cuda.SOURCES / "tensorrt"
ATTENTION = attention_source.SOURCES / "tensorrt"
READOUT = readout_source.SOURCES / "tensorrt"
RESIZE = resize_source.SOURCES / "tensorrt"
FLOAT32, FLOAT16, INT8, INT32, BOOL, BFLOAT16 = 0, 1, 2, 3, 4, 7  # nvinfer1::DataType
FIELD_INT32, FIELD_INT64 = 5, 10  # nvinfer1::PluginFieldType
VALUE_TYPES = (FLOAT32, FLOAT16, BFLOAT16)

VALUE, LOCATIONS, WEIGHTS = (6, 26, 8, 32), (6, 7, 8, 2, 4, 2), (6, 7, 8, 2, 4)  # of level_shapes 2 x 3 and 4 x 5
REFERENCES = (1, 7, 2, 4)
MASKS = (2, 100, 64, 48), (2, 3), (4, 480), (4, 480), (4, 640), (4, 640)
PIXELS = (2, 90, 70, 3), (1, 90), (1, 90), (6, 32), (6, 32), (7, 24), (7, 24)


def test_the_parser_finds_each_plugin_by_what_its_node_says() -> None:
    text = "".join(path.read_text() for folder in (PLUGINS, ATTENTION, READOUT, RESIZE) for path in folder.glob("*.h"))
    assert set(re.findall(r'kName\[\] = "(.*)";', text)) == {operator.name for operator in KERNELS}
    names = dict(re.findall(r'constexpr char k(\w+)\[\] = "(.*)";', text))
    assert {f"plugin_{key}": names[f"Plugin{key.title()}"] for key in ("namespace", "version")} == PLUGIN_ATTRIBUTES
    assert names["LevelShapes"] == "level_shapes"


def test_launches_are_those_of_the_generated_kernels() -> None:
    attention, readout = (ATTENTION / "attention_kernels.cu").read_text(), (READOUT / "readout_kernels.cu").read_text()
    assert f"kThreads = {cuda.THREADS_PER_BLOCK}" in attention
    resize_blocks = f"kBlocksPerMultiprocessor = {resize_source.BLOCKS_PER_MULTIPROCESSOR};"
    assert f"kThreadsPerBlock = {cuda.THREADS_PER_BLOCK}, {resize_blocks}" in (RESIZE / "resize_kernels.cu").read_text()
    assert f"kBlocksPerMultiprocessor = {attention_source.BLOCKS_PER_MULTIPROCESSOR}" in attention
    assert f"kWidestLoadBytes = {cuda.LOAD_BYTES}" in attention
    assert f"kMaxThreads = {readout_source.MAX_THREADS}," in readout
    assert f"kBlocksPerMultiprocessor = {readout_source.BLOCKS_PER_MULTIPROCESSOR}," in readout
    assert f"kSharedBytes = {readout_source.SHARED_BYTES // 1024} * 1024, kLines = {readout_source.LINES};" in readout
    assert (
        f"kMaxReadoutWidth = {readout_source.SHARED_BYTES // 1024} * 1024 / {4 * readout_source.LINES}"
        in (READOUT / "readout_kernels.h").read_text()
    )


def test_without_headers_cmake_says_how_to_get_them(tmp_path: Path) -> None:
    if not shutil.which("cmake"):
        pytest.skip("cmake is not installed")
    if tensorrt_root():
        pytest.skip("TensorRT's headers are installed")
    finished = subprocess.run(["cmake", "-S", PLUGINS, "-B", tmp_path], capture_output=True, text=True, check=False)
    message = " ".join(finished.stderr.split())
    assert finished.returncode != 0
    assert "install libnvinfer-dev" in message and "-DTensorRT_ROOT=" in message


@pytest.mark.parametrize(
    ("source", "kernels"),
    [
        (ATTENTION / "attention_kernels.cu", 33),  # 3 lanes of fp32 and 4 of each 16-bit type; samples, points, boxes
        (READOUT / "readout_kernels.cu", 3),
        (RESIZE / "resize_kernels.cu", 3),
    ],
    ids=["attention", "readout", "resize"],
)
def test_kernels_compile_with_nvcc_and_nothing_spills(source: Path, kernels: int, tmp_path: Path) -> None:
    if not shutil.which("nvcc"):
        pytest.skip("nvcc is not installed")
    flags = ["-std=c++17", "-arch=sm_90", "-Xptxas", "-v", f"-I{cuda.SOURCES}", f"-I{source.parents[1]}"]
    command = ["nvcc", *flags, "-c", source, "-o", tmp_path / "kernels.o"]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    spills = re.findall(r"(\d+) bytes spill stores", log)
    assert len(spills) == kernels and set(spills) == {"0"}


@pytest.fixture(scope="module")
def tensorrt(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The stand-in for TensorRT after it has loaded the plugins, which were built with CMake."""
    root = tensorrt_root()
    missing = [tool for tool in ("cmake", "nvcc") if not shutil.which(tool)]
    if not root or missing:
        pytest.skip(f"not found: {', '.join(missing) or 'NvInfer.h (set TensorRT_ROOT)'}")
    folder = tmp_path_factory.mktemp("plugins")
    fake = folder / "libnvinfer.so"
    source = Path(__file__).parent / "fake_nvinfer.cpp"
    flags = ["-std=c++17", "-shared", "-Xcompiler", "-fPIC", "-Xlinker", f"-soname,{fake.name}", f"-I{root}/include"]
    subprocess.run(["nvcc", *flags, source, "-o", fake], check=True)  # it knows where cuda_runtime_api.h is
    configure = ["cmake", "-S", PLUGINS, "-B", folder, f"-DTENSORRT_INCLUDE={root}/include"]
    configure += [f"-DTENSORRT_LIBRARY={fake}", "-DCMAKE_CUDA_ARCHITECTURES=90"]
    for command in (configure, ["cmake", "--build", folder]):
        subprocess.run(command, check=True, capture_output=True)
    library = ctypes.CDLL(str(fake), mode=ctypes.RTLD_GLOBAL)
    for name in ("registered", "last_message"):
        getattr(library, name).restype = ctypes.c_char_p
    for name in ("create", "supports", "load_library", "counts"):
        getattr(library, name).restype = ctypes.c_bool
    library.plugins = ctypes.CDLL(str(folder / "libhyperseg_plugins.so"))
    return library


def test_creators_are_registered_once_however_the_library_is_loaded(tensorrt: Any) -> None:
    """First by being loaded, as Triton does; then by TensorRT, which refuses what is registered already."""
    expected = {
        f"hyperseg {DEFORMABLE_ATTENTION.name} 1 hyperseg level_shapes",
        f"hyperseg {PROJECTED.name} 1 hyperseg level_shapes",
        f"hyperseg {MASK_READOUT.name} 1 hyperseg",
        f"hyperseg {PILLOW_RESIZE.name} 1 hyperseg",
    }
    assert set(tensorrt.registered().decode().splitlines()) == expected
    assert tensorrt.load_library(tensorrt.plugins.getCreators)
    assert set(tensorrt.registered().decode().splitlines()) == expected


@pytest.mark.parametrize("name", [DEFORMABLE_ATTENTION.name, PROJECTED.name])
@pytest.mark.parametrize(("integer", "kind"), [(ctypes.c_int32, FIELD_INT32), (ctypes.c_int64, FIELD_INT64)])
def test_fields_of_either_integer_type_make_a_plugin(tensorrt: Any, name: str, integer: Any, kind: int) -> None:
    assert create(tensorrt, name, (integer * 4)(2, 3, 4, 5), kind)


@pytest.mark.parametrize("name", [DEFORMABLE_ATTENTION.name, PROJECTED.name])
@pytest.mark.parametrize(("extents", "message"), [([2], "pairs of height, width"), ([0, 4], "no size of a map")])
def test_level_shapes_that_mean_nothing_are_refused(tensorrt: Any, name: str, extents: list[int], message: str) -> None:
    assert not create(tensorrt, name, (ctypes.c_int32 * len(extents))(*extents))
    assert f"hyperseg::{name}" in tensorrt.last_message().decode() and message in tensorrt.last_message().decode()


@pytest.mark.parametrize("value", VALUE_TYPES)
@pytest.mark.parametrize(
    ("name", "others", "outputs"),
    [
        (DEFORMABLE_ATTENTION.name, (FLOAT32, FLOAT32), (None,)),
        (PROJECTED.name, (FLOAT32, None, None), (None,)),
        (MASK_READOUT.name, (INT32, INT32, FLOAT32, INT32, FLOAT32), (FLOAT32, INT32, BOOL)),
        (PILLOW_RESIZE.name, (INT32,) * 6, (None,)),
    ],
)
def test_types(
    tensorrt: Any, name: str, others: Sequence[int | None], outputs: Sequence[int | None], value: int
) -> None:
    """None is the type of the first input. Any other type in any place is refused."""
    assert make(tensorrt, name)
    types = [value if kind is None else kind for kind in (None, *others, *outputs)]
    inputs = 1 + len(others)
    assert tensorrt.counts(inputs, len(outputs)) and not tensorrt.counts(inputs - 1, len(outputs))
    assert supported(tensorrt, types, inputs)
    for position in range(1, len(types)):
        for wrong in {FLOAT32, FLOAT16, INT8, INT32, BOOL} - {types[position]}:
            assert not supported(tensorrt, [*types[:position], wrong, *types[position + 1 :]], inputs)
    assert not supported(tensorrt, [INT8, *types[1:]], inputs)
    made = (ctypes.c_int32 * len(outputs))()
    tensorrt.output_types((ctypes.c_int32 * inputs)(*types[:inputs]), inputs, made, len(outputs))
    assert list(made) == types[inputs:]


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        (DEFORMABLE_ATTENTION.name, (VALUE, LOCATIONS, WEIGHTS), [(6, 7, 256)]),
        (PROJECTED.name, (VALUE, REFERENCES, LOCATIONS, WEIGHTS), [(6, 7, 256)]),
        (MASK_READOUT.name, MASKS, [(2, 100, 32), (2, 100, 32), (2, 3, 480, 640)]),
        (PILLOW_RESIZE.name, PIXELS, [(2, 24, 32, 3)]),
    ],
)
def test_output_shapes(
    tensorrt: Any, name: str, inputs: Sequence[tuple[int, ...]], outputs: list[tuple[int, ...]]
) -> None:
    assert make(tensorrt, name)
    assert output_shapes(tensorrt, inputs, len(outputs)) == outputs
    assert shape_change(tensorrt, inputs) == 0
    assert output_shapes(tensorrt, [*inputs[:-1], inputs[-1][1:]], len(outputs)) is None  # a rank too low
    assert "expected " in tensorrt.last_message().decode()


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        (DEFORMABLE_ATTENTION.name, ((1, 25, 8, 32), LOCATIONS, WEIGHTS), "cover 26 rows, value has 25"),
        (DEFORMABLE_ATTENTION.name, (VALUE, LOCATIONS, (6, 7, 8, 3, 4)), "heads or levels"),
        (PROJECTED.name, (VALUE, REFERENCES, LOCATIONS, (6, 7, 4, 2, 4)), "heads or levels"),
        (PROJECTED.name, ((1, 26, 2**20, 2**10), REFERENCES, LOCATIONS, (1, 7, 2**20, 2, 4)), "2^31 values or more"),
        (PROJECTED.name, (VALUE, (2, 7, 2, 4), LOCATIONS, WEIGHTS), "references must be"),
        (PROJECTED.name, (VALUE, (1, 7, 2, 3), LOCATIONS, WEIGHTS), "references must be"),
        (MASK_READOUT.name, (MASKS[0], (1, 3), *MASKS[2:]), "different batches"),
        (MASK_READOUT.name, (*MASKS[:4], (3, 640), (3, 640)), "must both be (4, size)"),
        (MASK_READOUT.name, (*MASKS[:2], (4, 480), (4, 479), *MASKS[4:]), "must both be (4, size)"),
        (MASK_READOUT.name, (*MASKS[:2], *[(4, 2**16)] * 4), "2^31 pixels or more"),
        (MASK_READOUT.name, ((2, 100, 64, 20000), *MASKS[1:]), "20000 px wide, at most 6016"),
        (PILLOW_RESIZE.name, (*PIXELS[:5], (7, 24), (7, 25)), "must both be (taps, size)"),
        (PILLOW_RESIZE.name, (PIXELS[0], (2, 90), *PIXELS[2:]), "must both be (taps, size)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    tensorrt: Any, name: str, inputs: Sequence[tuple[int, ...]], message: str
) -> None:
    assert make(tensorrt, name)
    assert shape_change(tensorrt, inputs) == -1
    assert message in tensorrt.last_message().decode()


def create(tensorrt: Any, name: str, level_shapes: Any, kind: int = FIELD_INT32) -> bool:
    return bool(tensorrt.create(name.encode(), b"level_shapes", level_shapes, kind, len(level_shapes)))


def make(tensorrt: Any, name: str) -> bool:
    if name in (MASK_READOUT.name, PILLOW_RESIZE.name):
        return bool(tensorrt.create(name.encode(), None, None, 0, 0))
    return create(tensorrt, name, (ctypes.c_int32 * 4)(2, 3, 4, 5))


def supported(tensorrt: Any, types: Sequence[int], inputs: int) -> bool:
    array = (ctypes.c_int32 * len(types))(*types)
    return all(tensorrt.supports(array, place, inputs, len(types) - inputs) for place in range(len(types)))


def shape_arguments(shapes: Sequence[tuple[int, ...]]) -> tuple[Any, Any]:
    sizes = list(itertools.chain(*shapes))
    return (ctypes.c_int64 * len(sizes))(*sizes), (ctypes.c_int32 * len(shapes))(*map(len, shapes))


def output_shapes(tensorrt: Any, inputs: Sequence[tuple[int, ...]], outputs: int) -> list[tuple[int, ...]] | None:
    written = (ctypes.c_int64 * 64)()
    if tensorrt.output_shapes(*shape_arguments(inputs), len(inputs), outputs, written) != 0:
        return None
    numbers = iter(written)
    return [tuple(next(numbers) for _ in range(next(numbers))) for _ in range(outputs)]


def shape_change(tensorrt: Any, inputs: Sequence[tuple[int, ...]]) -> int:
    return int(tensorrt.shape_change(*shape_arguments(inputs), len(inputs)))


def tensorrt_root() -> Path | None:
    """The folder with include/NvInfer.h, if there is one."""
    roots = (Path(os.environ.get("TensorRT_ROOT", "/usr")), Path("/usr"), Path("/usr/local/tensorrt"))  # noqa: SIM112  (the name CMake asks for)
    return next((root for root in roots if (root / "include" / "NvInfer.h").is_file()), None)
