"""Operations and bytes of graphs: against torch's own counter on the modules, and at full size against the specs."""

from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper
from torch.utils.flop_counter import FlopCounterMode

from hyperseg_export.families.family import ExportFamily
from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_export.onnx.cost import cost_of, count_flops
from hyperseg_export.onnx.writer import TORCH_DTYPES, export_graph
from hyperseg_export.opening import open_checkpoint
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import BundleError
from support import family_bundle, family_checkpoint, others_slow

CLOSE = 0.02
"""What the specs' numbers and ours may differ by."""
FULL = {
    ("hyperseg", "image_encoder"): 724e9,
    ("hyperseg", "clip_encoder"): 656e9,
    ("hyperseg", "fvp"): 39e9,
    ("hyperseg", "llm"): 5498e9,
    ("hyperseg", "lm_head"): 0.26e9,
    ("hyperseg", "pixel_decoder"): 282e9,
    ("unilseg", "text"): 1.3e9,
    ("unilseg", "image_encoder"): 159.2e9,
    ("unilseg", "mask_decoder"): 236.8e9,
    ("hipie", "text"): 97e9,
    ("hipie", "image"): 2 * 4.09e9 * (1024 / 224) ** 2,
    ("hipie", "mask_dino"): 454e9 - 2 * 300 * 256 * 256**2,
    ("hipie", "detr"): (10 + 210 + 334 + 51 + 30) * 1e9,
}
"""Family and graph -> operations (hyperseg-spec 12, unilseg-spec 13, hipie-spec 17). HyperSeg's mask decoder is not
among them: its graph makes nine of ten mask products at the size they are used at, and does with 34e9 what took the
original 60e9. HIPIE's Mask DINO is without the masks of the 300 proposals, which the original makes and nobody reads
(`maskdino_decoder.py`, `interm_outputs`). Its backbone is ResNet-50 as torchvision counts it, 4.09e9 multiply-adds for
224 x 224 px; the spec's 175e9 holds 4e9 more, and what they are was not found."""
PREFILL_TOKENS = 1024


@pytest.mark.parametrize("family", [pytest.param(name, marks=others_slow(name)) for name in EXPORT_FAMILIES])
def test_operations_are_those_that_torch_counts(shared_dir: Path, family: str) -> None:
    """On the meta device, where only shapes are computed; the ONNX files are a bundle's."""
    bundle = Bundle.read(family_bundle(shared_dir, family))
    model = open_checkpoint(family_checkpoint(shared_dir, family)).model
    for entry in bundle.manifest.graphs:
        sizes = {axis: limits.typical for axis, limits in entry.spec.axis_ranges.items()}
        ours = sum(cost_of(bundle.path(entry.file), sizes).flops.values())
        examples = [
            torch.empty(tensor.shape(sizes), dtype=TORCH_DTYPES[tensor.dtype], device="meta")
            for tensor in entry.spec.inputs
        ]
        with FlopCounterMode(display=False) as counter:
            model.module(entry.spec.name)(*examples)
        assert ours == counter.get_total_flops(), entry.spec.name
        assert ours > 0 or not list(model.module(entry.spec.name).parameters())  # resizing multiplies no matrices


def test_bytes_are_weights_inputs_and_outputs_once(tmp_path: Path) -> None:
    """A table that is looked up in counts by its rows, quantised weights by the bits they are stored in."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("DequantizeLinear", ["small", "scale"], ["wide"]),
        helper.make_node("MatMul", ["rows", "wide"], ["out"]),
    ]
    weights = [
        helper.make_tensor("table", TensorProto.FLOAT, (1000, 8), [0.0] * 8000),
        helper.make_tensor("small", TensorProto.INT8, (8, 4), [1] * 32),
        helper.make_tensor("scale", TensorProto.FLOAT, (), [0.5]),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 4])], weights,
    )  # fmt: skip
    path = tmp_path / "g.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)]).SerializeToString())
    cost = cost_of(path, {"batch": 3})
    assert cost.flops == {"float32": 2 * 3 * 8 * 4}
    assert cost.bytes == 3 * 8 * 4 + 8 * 4 + 4 + 3 * 8 + 3 * 4 * 4


def test_a_shape_that_cannot_be_found_is_an_error(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "a"], ["b"])], "g",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, ["n", "n"])],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, ["n", "n"])],
    )  # fmt: skip
    path = tmp_path / "g.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)]).SerializeToString())
    with pytest.raises(BundleError, match="shape of b cannot be found"):
        cost_of(path, {})
    assert cost_of(path, {"n": 5}).flops == {"float32": 2 * 5**3}


@pytest.mark.full
@pytest.mark.parametrize("family", EXPORT_FAMILIES.values(), ids=lambda family: family.name)
def test_operations_at_full_size_are_the_specs(family: ExportFamily) -> None:
    """The published widths, no weight made that is not asked for. The language model has 2 of its 32 layers here."""
    model = family.random.model("full", 0)
    for spec in model.specs:
        if (family.name, spec.name) not in FULL:
            continue
        sizes = {axis: limits.typical for axis, limits in spec.axis_ranges.items()}
        sizes |= {"tokens": PREFILL_TOKENS} if spec.in_place else {}
        module = model.module(spec.name)
        graph = export_graph(module, spec, model.weights.of_module(module))
        counted = count_flops(ir.to_proto(_without_values(graph)), sizes)
        layers = 32 / 2 if spec.in_place else 1
        assert counted * layers == pytest.approx(FULL[family.name, spec.name], rel=CLOSE), spec.name


def _without_values(model: ir.Model) -> ir.Model:
    """Large tensors as promises of a file that nobody reads."""
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and tensor.nbytes > 1024:
            value.const_value = ir.ExternalTensor(
                "none", 0, tensor.nbytes, tensor.dtype, shape=tensor.shape, name=name, base_dir=""
            )
    return model
