"""A graph of any image size, from a module to ONNX Runtime: derived sizes go by the contract's words."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from hyperseg_export.onnx.lint import check_graph, lint, matches_spec
from hyperseg_export.onnx.weight_store import WeightStore
from hyperseg_export.onnx.writer import export_graph, save_graph
from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.tolerances import FEATURE
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.errors import BundleError, ExportError, InputError

ROWS, COLUMNS = "ceil(height / 8)", "ceil(width / 8)"
SIZES = [(64, 64), (65, 71), (8, 8), (9, 15), (1, 1), (1, 639), (161, 198)]


class Patches(nn.Module):
    """One convolution of stride 8 over an image padded to a multiple, added to a map of that size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 8, stride=8)

    def forward(self, images: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        height, width = images.shape[2:]
        maps = self.conv(pad(images, (0, -width % 8, 0, -height % 8))) + coarse
        return maps, maps.flatten(2)


class Cut(Patches):
    """The same without the padding: rows and columns that fill no patch are lost."""

    def forward(self, images: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.conv(images)
        return maps, maps.flatten(2)


def spec(rows: str = ROWS, columns: str = COLUMNS, smallest: int = 1) -> GraphSpec:
    side = AxisRange(minimum=smallest, typical=max(smallest, 64), maximum=4096)

    def tensor(name: str, *axes: int | str) -> TensorSpec:
        return TensorSpec(name=name, dtype=DType.FLOAT32, axes=("batch", *axes))

    return GraphSpec(
        name="patches",
        inputs=(tensor("images", 3, "height", "width"), tensor("coarse", 4, ROWS, COLUMNS)),
        outputs=(tensor("maps", 4, rows, columns), tensor("tokens", 4, f"({rows}) * ({columns})")),
        axis_ranges={"batch": AxisRange(minimum=1, typical=1, maximum=4), "height": side, "width": side},
        reuse=Reuse.IMAGE,
    )


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(Patches().state_dict())


@pytest.fixture(scope="module")
def path(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("derived")
    with torch.device("meta"):
        module = Patches().eval()
    with WeightStore(folder, {}).open("patches.data") as stored:
        save_graph(export_graph(module, spec(), weights), folder / "patches.onnx", stored)
    return folder / "patches.onnx"


def test_the_file_names_its_axes_as_the_contract_does(path: Path) -> None:
    check_graph(path, spec())
    graph = onnx.load(path, load_external_data=False).graph
    found = {
        value.name: tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.output)
    }
    assert found == {tensor.name: tensor.axes for tensor in (*spec().inputs, *spec().outputs)}


@pytest.mark.parametrize("smallest", [1, 208, 2048])
def test_a_module_may_be_traceable_from_a_large_size_on_only(weights: dict[str, Tensor], smallest: int) -> None:
    with torch.device("meta"):
        module = Patches().eval()
    of_large = spec(smallest=smallest)
    assert [value.name for value in export_graph(module, of_large, weights).graph.outputs] == of_large.output_names()


@pytest.mark.parametrize("size_hw", SIZES)
def test_any_size_runs_and_has_the_sizes_of_the_contract(
    path: Path, weights: dict[str, Tensor], size_hw: tuple[int, int]
) -> None:
    sizes = {"batch": 2, "height": size_hw[0], "width": size_hw[1]}
    random = np.random.default_rng(0)
    inputs = {t.name: random.standard_normal(t.shape(sizes), np.float32) for t in spec().inputs}
    backend = OnnxRuntimeBackend(threads=1)
    outputs = backend.open(spec(), path).run({name: backend.upload(array) for name, array in inputs.items()})
    module = Patches()
    module.load_state_dict(weights)
    with torch.inference_mode():
        expected = module(*map(torch.from_numpy, inputs.values()))
    for tensor, wanted in zip(spec().outputs, expected, strict=True):
        assert outputs[tensor.name].shape == tensor.shape(sizes)
        assert worst_error(outputs[tensor.name].to_host(), wanted.numpy()) <= FEATURE


def test_an_input_of_another_size_than_derived_is_refused_before_the_run(path: Path) -> None:
    backend = OnnxRuntimeBackend(threads=1)
    inputs = {"images": np.zeros((1, 3, 65, 64), np.float32), "coarse": np.zeros((1, 4, 8, 8), np.float32)}
    with pytest.raises(InputError, match=r"axis ceil\(height / 8\) of coarse is 8, expected 9"):
        backend.open(spec(), path).run({name: backend.upload(array) for name, array in inputs.items()})


def test_a_file_with_other_words_is_found_by_lint_and_backend(path: Path) -> None:
    other = spec(rows="floor((height + 7) / 8)")
    assert [finding.check for finding in lint(path, other, (matches_spec,))] == ["matches_spec"] * 2
    with pytest.raises(BundleError, match=r"the manifest says output .*floor\(\(height \+ 7\) / 8\)"):
        OnnxRuntimeBackend(threads=1).open(other, path)


def test_a_contract_whose_arithmetic_is_not_the_modules_is_refused(weights: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        module = Cut().eval()
    with pytest.raises(ExportError, match=r"graph patches: expected output maps float32 .*, the module gives \(161"):
        export_graph(module, spec(), weights)
    export_graph(module, spec("floor(height / 8)", "floor(width / 8)", smallest=8), weights)


class Fixed(Patches):
    """Its second output has the size of the example it is traced with."""

    def forward(self, images: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        maps, _ = super().forward(images, coarse)
        return maps, maps.reshape(maps.shape[0], 4, int(maps.shape[2] * maps.shape[3]))


def test_a_size_that_the_exporter_fixed_is_found_by_lint(weights: dict[str, Tensor], tmp_path: Path) -> None:
    with torch.device("meta"):
        module = Fixed().eval()
    with WeightStore(tmp_path, {}).open("patches.data") as stored:
        save_graph(export_graph(module, spec(), weights), tmp_path / "patches.onnx", stored)
    with pytest.raises(ExportError, match=r"matches_spec: expected output tokens float32 .*, got tokens .*750"):
        check_graph(tmp_path / "patches.onnx", spec())
