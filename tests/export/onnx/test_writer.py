"""ONNX files: what is kept (names, axes, weights), what is not (paths, traces), and what cannot be written."""

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.external_data_helper import uses_external_data
from torch import Tensor, nn

import hyperseg_kernels.deformable_attention.torch_op as torch_op
from hyperseg_export.checkpoint.weights import transposed_names
from hyperseg_export.export import write_graph
from hyperseg_export.modules.linear import Linear
from hyperseg_export.onnx.lint import check_graph
from hyperseg_export.onnx.weight_store import INLINE_BYTES, Location, WeightStore
from hyperseg_export.onnx.writer import (
    FOLD_ELEMENTS,
    IR_VERSION,
    OPSET,
    export_graph,
    save_graph,
)
from hyperseg_export.opening import open_checkpoint
from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.tolerances import FEATURE
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.errors import ExportError
from hyperseg_runtime.families import FAMILIES
from support import FIRST_FAMILY

ONNX_TYPES = {DType.FLOAT32: "FLOAT", DType.INT64: "INT64", DType.BOOL: "BOOL", DType.UINT8: "UINT8"}
WIDTH = 40
FAMILY = FAMILIES[FIRST_FAMILY]
GRAPHS = [spec.name for spec in FAMILY.graph_specs(FAMILY.published)]


@pytest.mark.parametrize("graph", GRAPHS)
def test_names_types_and_axes_are_the_specs(tiny_bundle: Path, graph: str) -> None:
    proto, spec = loaded(tiny_bundle, graph)
    for values, tensors in ((proto.graph.input, spec.inputs), (proto.graph.output, spec.outputs)):
        found = [
            (
                value.name,
                onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type),
                tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim),
            )
            for value in values
        ]
        assert found == [(t.name, ONNX_TYPES[t.dtype], t.axes) for t in tensors]
    assert proto.graph.name == graph


@pytest.mark.parametrize("graph", GRAPHS)
def test_versions_are_written_and_nothing_of_the_exporter_is(tiny_bundle: Path, graph: str) -> None:
    proto, _ = loaded(tiny_bundle, graph)
    assert proto.ir_version == IR_VERSION == 10
    assert {item.domain: item.version for item in proto.opset_import}[""] == OPSET == 24
    assert (proto.producer_name, proto.producer_version, proto.doc_string) == ("hyperseg-trt", "", "")
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    values = [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]
    for part in (proto, proto.graph, *proto.graph.initializer, *proto.functions, *nodes, *values):
        assert not part.metadata_props
        assert not part.doc_string
    text = (tiny_bundle / "graphs" / f"{graph}.onnx").read_bytes()
    for trace in (
        b".py",
        b"torch",
        b"site-packages",
        b"stack_trace",
        str(Path.cwd()).encode(),
        str(tiny_bundle).encode(),
    ):
        assert trace not in text


@pytest.mark.parametrize("graph", GRAPHS)
def test_dense_weights_keep_their_names_and_layout(tiny_bundle: Path, tiny_checkpoint: Path, graph: str) -> None:
    proto, _ = loaded(tiny_bundle, graph)
    model = open_checkpoint(tiny_checkpoint).model
    module = model.module(graph)
    values = model.weights.of_module(module)
    initializers = {tensor.name: tensor for tensor in proto.graph.initializer}
    dense = sorted(transposed_names(module))
    assert set(dense) <= initializers.keys()
    for name in dense[::7]:
        stored = onnx.numpy_helper.to_array(initializers[name], str(tiny_bundle / "graphs"))
        assert np.array_equal(stored, values[name].numpy())
    nodes = [node for node in proto.graph.node if set(node.input) & set(dense)]
    assert {node.op_type for node in nodes} <= {"MatMul"}


@pytest.mark.parametrize("graph", GRAPHS)
def test_large_tensors_lie_outside_and_small_ones_inside(tiny_bundle: Path, graph: str) -> None:
    proto, _ = loaded(tiny_bundle, graph)
    for tensor in proto.graph.initializer:
        size = np.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        assert uses_external_data(tensor) == (size >= INLINE_BYTES), tensor.name


def test_equal_tensors_of_all_graphs_are_stored_once(tiny_bundle: Path) -> None:
    places: dict[bytes, set[tuple[str, str]]] = {}
    for graph in GRAPHS:
        for tensor in loaded(tiny_bundle, graph)[0].graph.initializer:
            if uses_external_data(tensor):
                entry = {item.key: item.value for item in tensor.external_data}
                with (tiny_bundle / "graphs" / entry["location"]).open("rb") as file:
                    file.seek(int(entry["offset"]))
                    data = file.read(int(entry["length"]))
                places.setdefault(hashlib.sha256(data).digest(), set()).add((entry["location"], entry["offset"]))
    assert len(places) > 100
    assert all(len(found) == 1 for found in places.values())


@pytest.mark.slow
@pytest.mark.parametrize("graph", ["clip_encoder", "llm"])
def test_a_second_export_gives_the_same_bytes(
    tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path, graph: str
) -> None:
    model = open_checkpoint(tiny_checkpoint).model
    spec = next(spec for spec in model.specs if spec.name == graph)
    files, _ = write_graph(model, spec, tmp_path, known={})
    assert files == [f"graphs/{graph}.onnx", f"graphs/{graph}.data"]
    for file in files:
        assert (tmp_path / file).read_bytes() == (tiny_bundle / file).read_bytes()


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Foldable(Dense):
    """Something to compute from the weight alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.layer.weight.exp()


class Variadic(nn.Module):
    def forward(self, x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        return tuple(x + part for part in more)


class Values(dict[str, Tensor]):
    """Weights that remember which were read."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__(values)
        self.read: list[str] = []

    def __getitem__(self, name: str) -> Tensor:
        self.read.append(name)
        return super().__getitem__(name)


@pytest.mark.parametrize("module", [Dense, Foldable])
def test_a_large_weight_is_read_once_and_only_when_saved(tmp_path: Path, module: type[nn.Module]) -> None:
    assert WIDTH**2 > FOLD_ELEMENTS
    values = Values({"layer.weight": torch.randn(WIDTH, WIDTH), "layer.bias": torch.randn(WIDTH)})
    model = export_graph(on_meta(module), small_spec(), values)
    assert "layer.weight" not in values.read
    promised = model.graph.initializers["layer.weight"].const_value
    assert promised is not None and promised.nbytes == 4 * WIDTH**2
    save(model, tmp_path)
    assert values.read.count("layer.weight") == 1


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_one_file_runs_at_every_size_of_its_axes(tmp_path: Path, batch: int) -> None:
    weights = {"layer.weight": torch.randn(WIDTH, WIDTH), "layer.bias": torch.randn(WIDTH)}
    path = save(export_graph(on_meta(Dense), small_spec(), weights), tmp_path)
    x = torch.randn(batch, WIDTH)
    with OnnxRuntimeBackend() as backend:
        found = backend.open(small_spec(), path).run({"x": backend.upload(x.numpy())})["y"].to_host()
    expected = x @ weights["layer.weight"] + weights["layer.bias"]
    assert worst_error(found, expected.numpy()) < FEATURE


@pytest.mark.parametrize("module", [Dense, Foldable])
def test_a_replaceable_weight_is_read_from_where_it_is_placed(tmp_path: Path, module: type[nn.Module]) -> None:
    """Another file under the same name is another weight, and nothing of the first is left in the graph."""
    bias = Values({"layer.bias": torch.zeros(WIDTH)})
    model = export_graph(on_meta(module), small_spec(), bias, replaceable={"layer.weight"})
    with pytest.raises(ExportError, match=r"initializer layer\.weight has no value"):
        save(model, tmp_path)
    placed = {"layer.weight": Location("own.data", 64, 4 * WIDTH**2)}
    x = torch.randn(2, WIDTH)
    for weight in (torch.randn(WIDTH, WIDTH), torch.zeros(WIDTH, WIDTH)):
        (tmp_path / "own.data").write_bytes(bytes(64) + weight.numpy().tobytes())
        path = save(model, tmp_path, placed)
        with OnnxRuntimeBackend() as backend:
            found = backend.open(small_spec(), path).run({"x": backend.upload(x.numpy())})["y"].to_host()
        expected = x @ (weight if module is Dense else weight.exp())
        assert worst_error(found, expected.numpy()) < FEATURE


def test_a_variadic_forward_takes_the_last_inputs_together(tmp_path: Path) -> None:
    spec = small_spec(inputs=("x", "a", "b"), outputs=("xa", "xb"))
    path = save(export_graph(Variadic(), spec, {}), tmp_path)
    check_graph(path, spec)
    arrays = {name: np.full((3, WIDTH), value, np.float32) for name, value in (("x", 1), ("a", 10), ("b", 20))}
    with OnnxRuntimeBackend() as backend:
        found = backend.open(spec, path).run({name: backend.upload(array) for name, array in arrays.items()})
        assert {name: buffer.to_host()[0, 0] for name, buffer in found.items()} == {"xa": 11, "xb": 21}


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Untranslatable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x[:, :, None] * x[:, None]).abs()


class TwoArguments(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Raises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("no such thing")


class TwoDepths(nn.Module):
    """Deformable attention over one level and over two: one body cannot be both."""

    def forward(self, x: Tensor) -> Tensor:
        value = x.reshape(-1, 10, 1, 4)
        places, weights = torch.ones(2, 1, 1, 2, 1, 2), torch.ones(2, 1, 1, 2, 1)
        two = torch_op.deformable_attention(value[:2], places, weights, [2, 3, 2, 2])
        return two + torch_op.deformable_attention(value[:2, :6], places[:, :, :, :1], weights[:, :, :, :1], [2, 3])


@pytest.mark.parametrize("module", [Branches, Untranslatable, TwoArguments, Raises, TwoDepths])
def test_what_cannot_be_exported_is_an_export_error(module: type[nn.Module]) -> None:
    with pytest.raises(ExportError, match="graph small") as error:
        export_graph(module().eval(), small_spec(), {})
    assert len(str(error.value)) < 600


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, WIDTH)


class OneMore(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x + 2


class OneTwice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, x), dim=1)


class WholeNumbers(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.long()


class AsLongAsItsValue(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, : int(x[0, 0].item())]


@pytest.mark.parametrize("module", [FixedBatch, OneMore, OneTwice, WholeNumbers, AsLongAsItsValue])
def test_a_result_that_is_not_what_the_spec_says_does_not_pass(tmp_path: Path, module: type[nn.Module]) -> None:
    def write() -> None:
        check_graph(save(export_graph(module().eval(), small_spec(), {}), tmp_path), small_spec())

    with pytest.raises(ExportError, match="graph small"):
        write()


def test_the_writer_needs_no_other_import() -> None:
    """In a fresh interpreter: the operators it translates are registered by its own imports."""
    code = (
        "import torch; from hyperseg_export.onnx.writer import export_graph\n"
        "from hyperseg_runtime.contracts.graph_spec import *\n"
        "t = [TensorSpec(name=n, dtype='float32', axes=(3,)) for n in 'xy']\n"
        "spec = GraphSpec(name='g', inputs=t[:1], outputs=t[1:], axis_ranges={}, reuse='image')\n"
        "export_graph(torch.nn.ReLU(), spec, {})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def on_meta(module: type[nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return module().eval()


def small_spec(inputs: tuple[str, ...] = ("x",), outputs: tuple[str, ...] = ("y",)) -> GraphSpec:
    def tensors(names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(name=name, dtype=DType.FLOAT32, axes=("batch", WIDTH)) for name in names)

    ranges = {"batch": AxisRange(minimum=1, typical=2, maximum=8)}
    return GraphSpec(
        name="small", inputs=tensors(inputs), outputs=tensors(outputs), axis_ranges=ranges, reuse=Reuse.IMAGE
    )


def save(model: object, folder: Path, placed: Mapping[str, Location] | None = None) -> Path:
    path = folder / "small.onnx"
    with WeightStore(folder, {}).open("small.data") as weights:
        save_graph(model, path, weights, placed)
    return path


def loaded(bundle: Path, graph: str) -> tuple[onnx.ModelProto, GraphSpec]:
    entry = Bundle.open(bundle).manifest.graph(graph)
    return onnx.load(bundle / entry.file, load_external_data=False), entry.spec
