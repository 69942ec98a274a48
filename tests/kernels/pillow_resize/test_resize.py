"""Every form of the resize gives Pillow's bytes, all of them."""

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import PIL
import pytest
from onnx import TensorProto, helper
from PIL import Image

from hyperseg_export.onnx.lint import IMPORTABLE
from hyperseg_export.onnx.writer import IR_VERSION, OPSET
from hyperseg_kernels import native
from hyperseg_kernels.catalog import PILLOW_RESIZE, PLUGIN_ATTRIBUTES
from hyperseg_kernels.cuda import nvrtc
from hyperseg_kernels.cuda import source as cuda
from hyperseg_kernels.cuda.source import ValueType
from hyperseg_kernels.pillow_resize import cuda_source, onnx_op
from hyperseg_kernels.pillow_resize.axis import Axis, Filter, Tables, are_rows_first, axis, tables
from hyperseg_kernels.pillow_resize.reference import resize

SHIM = Path(__file__).parent / "host_resize.cpp"
METHODS = {Filter.BILINEAR: Image.Resampling.BILINEAR, Filter.BICUBIC: Image.Resampling.BICUBIC}
NAMES = tuple(f"{axis}_{what}" for axis in ("first_row", "column", "last_row") for what in ("index", "weight"))
Hw = tuple[int, int]


def sizes(count: int, largest: int) -> Iterator[tuple[np.ndarray, Hw]]:
    """Random images, every third of them black and white, and sizes to bring them to: up, down and both."""
    random = np.random.default_rng(count)
    for number in range(count):
        height, width, new_height, new_width = (int(largest ** random.uniform(0, 1)) for _ in range(4))
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        yield (image // 128 * 255 if number % 3 == 0 else image), (new_height, new_width)


def pillows(image: np.ndarray, size_hw: Hw, method: Filter) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size_hw[1], size_hw[0]), METHODS[method]))


def tables_of(image: np.ndarray, size_hw: Hw, method: Filter) -> Tables:
    """Those of the Pillow that is here."""
    source_hw = image.shape[0], image.shape[1]
    return tables(source_hw, size_hw, method, are_rows_first(source_hw, size_hw, PIL.__version__))


def arrays(found: Tables) -> dict[str, np.ndarray]:
    axes = (found.first_rows, found.columns, found.last_rows)
    return dict(zip(NAMES, (table for one in axes for table in (one.index, one.weight)), strict=True))


@pytest.mark.parametrize("method", Filter)
def test_the_definition_is_pillows_on_200_sizes(method: Filter) -> None:
    different = 0
    for image, size_hw in sizes(200, 400):
        made = resize(image[None], tables_of(image, size_hw, method))[0]
        different += int(np.count_nonzero(made != pillows(image, size_hw, method)))
    assert different == 0


def test_the_order_of_the_axes_matters() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 20, 3), np.uint8)
    columns_first, rows_first = (
        resize(image[None], tables((90, 20), (40, 70), Filter.BICUBIC, first))[0] for first in (False, True)
    )
    assert (columns_first != rows_first).any()
    assert are_rows_first((90, 20), (40, 70), "13.0.0") and not are_rows_first((90, 20), (40, 70), "12.2.0")
    assert not are_rows_first((90, 90), (40, 60), "13.0.0")


@pytest.mark.parametrize("method", Filter)
def test_weights_are_one_together(method: Filter) -> None:
    for source, target in ((1000, 7), (7, 1000), (1, 1), (33, 32)):
        made = axis(source, target, method)
        assert np.abs(made.weight.astype(np.int64).sum(0) - (1 << 22)).max() <= made.weight.shape[0]


def test_sizes_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 px: source 0, target 4"):
        axis(0, 4, Filter.BILINEAR)


@pytest.fixture(scope="module")
def sessions(cpu_op_library: Path) -> dict[str, ort.InferenceSession]:
    return {"body": session_of([]), "native": session_of([cpu_op_library])}


@pytest.mark.parametrize("form", ["body", "native"])
def test_onnx_runtime_gives_the_same_bytes(sessions: dict[str, ort.InferenceSession], form: str) -> None:
    for image, size_hw in sizes(40, 120):
        for method in Filter:
            given = {"pixels": image[None].astype(np.float32), **arrays(tables_of(image, size_hw, method))}
            (made,) = (np.asarray(output) for output in sessions[form].run(None, given))
            assert made.dtype == np.float32 and np.array_equal(made[0], pillows(image, size_hw, method))


def test_sources_that_are_not_there_are_refused(sessions: dict[str, ort.InferenceSession]) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    given = {"pixels": image[None].astype(np.float32), **arrays(tables_of(image, (2, 2), Filter.BILINEAR))}
    given["column_index"] = given["column_index"] + 9
    with pytest.raises(Exception, match="whose sources are there"):
        sessions["native"].run(None, given)


def test_tensorrt_has_every_operator_of_the_body() -> None:
    assert {node.op_type for node in onnx_op.function_body(OPSET).node} <= IMPORTABLE


@pytest.fixture(scope="module")
def host(compiled: Callable[[Callable[[], Path]], Path]) -> Any:
    return ctypes.CDLL(str(compiled(lambda: native.build_library(SHIM, [cuda.SOURCES, cuda_source.SOURCES]))))


@pytest.mark.parametrize("value_type", [ValueType.FLOAT32, ValueType.FLOAT16])
def test_threads_of_the_gpu_kernel_give_the_same_bytes(host: Any, value_type: ValueType) -> None:
    for image, size_hw in sizes(30, 60):
        for method in Filter:
            made = on_host(host, value_type, image, tables_of(image, size_hw, method))
            assert np.array_equal(made, pillows(image, size_hw, method))


def on_host(host: Any, value_type: ValueType, image: np.ndarray, found: Tables) -> np.ndarray:
    pixels = image.astype(value_type.value)
    axes: list[Axis] = [found.first_rows, found.columns, found.last_rows]
    made = np.empty((found.last_rows.size, found.columns.size, 3), pixels.dtype)
    shapes = [size for one in axes for size in one.index.shape]
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (pixels, *arrays(found).values())]
    numbers = [ctypes.c_int(number) for number in (*pixels.shape, *shapes)]
    blocks = cuda_source.grid(1, found.last_rows.size, found.columns.size * 3).blocks
    getattr(host, cuda_source.name(value_type))(blocks, *pointers, *numbers, ctypes.c_void_p(made.ctypes.data))
    return made


def test_the_kernel_compiles_for_a_gpu() -> None:
    if (missing := nvrtc_missing()) is not None:
        pytest.skip(missing)
    for architecture in ("sm_75", "sm_90"):
        made = nvrtc.compile_cubin(cuda_source.program(*ValueType), cuda_source.headers(), architecture)
        assert made.image and not any(taken.spill_store_bytes for taken in made.resources.values())


def test_a_launch_counts_the_tiles_of_the_source() -> None:
    tile = cuda_source.headers()["tile.h"]
    assert f"kTileRows = {cuda_source.TILE_ROWS}, kTileNumbers = {cuda_source.TILE_NUMBERS};" in tile
    assert cuda_source.grid(2, 17, 65).blocks == 2 * 2 * 2
    with pytest.raises(ValueError, match="needs several launches"):
        cuda_source.grid(1, 2**16, 2**15)


def test_rows_that_are_not_kept_are_made_anew(host: Any) -> None:
    """A tile of 16 rows out of more rows than a block keeps; and tables in no order at all."""
    image = np.random.default_rng(1).integers(0, 256, (2400, 3, 3), np.uint8)
    found = tables_of(image, (20, 2), Filter.BICUBIC)
    assert np.array_equal(on_host(host, ValueType.FLOAT32, image, found), pillows(image, (20, 2), Filter.BICUBIC))
    last = found.last_rows
    mixed = Tables(found.first_rows, found.columns, Axis(last.index[::-1, ::-1].copy(), last.weight[::-1, ::-1].copy()))
    expected = resize(image[None].astype(np.float32), mixed)[0]
    assert np.array_equal(on_host(host, ValueType.FLOAT32, image, mixed), expected)


def nvrtc_missing() -> str | None:
    try:
        nvrtc.compile_cubin("", {}, "sm_90")
    except native.NativeBuildError as error:
        return str(error)
    return None


def session_of(libraries: list[Path]) -> ort.InferenceSession:
    """One node with its body; every size is free."""
    onnx_op.register_schema()
    infos = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["B", "h", "w", "C"])]
    infos += [
        helper.make_tensor_value_info(name, TensorProto.INT32, [f"{name}_taps", f"{name}_size"]) for name in NAMES
    ]
    output = helper.make_tensor_value_info("resized", TensorProto.FLOAT, ["B", "H", "W", "C"])
    domain = PILLOW_RESIZE.domain
    node = helper.make_node(PILLOW_RESIZE.name, ["pixels", *NAMES], ["resized"], domain=domain, **PLUGIN_ATTRIBUTES)
    model: onnx.ModelProto = helper.make_model(
        helper.make_graph([node], "g", infos, [output]),
        functions=[onnx_op.function_body(OPSET)],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(domain, PILLOW_RESIZE.version)],
        ir_version=IR_VERSION,
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    for library in libraries:
        options.register_custom_ops_library(str(library))
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
