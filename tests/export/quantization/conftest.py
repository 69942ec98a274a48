"""A small graph with everything that matters to quantisation, and the trained bundle rounded once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from hyperseg_export.export import ExportOptions, export_bundle
from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_export.quantization.quantize import quantize_bundle
from quantisation import options
from support import FIRST_FAMILY, made_once


@pytest.fixture(scope="session")
def rounded_bundle(shared_dir: Path, trained_bundle: Path) -> Callable[..., Path]:
    """A bundle by a recipe, not gated; read only: the trained one, or one layer of everything of another family."""

    def wide(family: str) -> Path:
        if family == FIRST_FAMILY:
            return trained_bundle
        return made_once(shared_dir / f"{family}-small-bundle", lambda folder: _small(family, folder))

    def make(recipe: str, family: str = FIRST_FAMILY) -> Path:
        return made_once(
            shared_dir / f"{family}-rounded-{recipe}",
            lambda folder: quantize_bundle(wide(family), folder, options(recipe, gated=False)),
        )

    return make


def _small(family: str, folder: Path) -> None:
    checkpoint = folder.with_name(f"{family}-small-checkpoint")
    checkpoint.mkdir()
    EXPORT_FAMILIES[family].random.write(checkpoint, "small", 0)
    export_bundle(checkpoint, folder, ExportOptions(measure_parity=False))


@pytest.fixture
def model() -> ir.Model:
    """x (batch, 3, 64) -> LayerNormalization -> two products -> Gelu -> product: one norm with two readers."""
    random = np.random.default_rng(2)

    def constant(name: str, *shape: int) -> ir.Value:
        tensor = ir.tensor(random.normal(size=shape).astype(np.float32), name=name)
        return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT), const_value=tensor)

    def value(name: str, width: int) -> ir.Value:
        return ir.Value(name=name, shape=ir.Shape(["batch", 3, width]), type=ir.TensorType(ir.DataType.FLOAT))

    x, y = value("x", 64), value("y", 64)
    weights = [constant("scale", 64), constant("bias", 64), constant("a", 64, 32), constant("b", 64, 32)]
    weights += [constant("c", 32, 64)]
    scale, bias, a, b, c = weights
    norm = ir.Node("", "LayerNormalization", [x, scale, bias], name="net.norm/node")
    left = ir.Node("", "MatMul", [norm.outputs[0], a], name="net.a/node")
    right = ir.Node("", "MatMul", [norm.outputs[0], b], name="net.b/node")
    both = ir.Node("", "Add", [left.outputs[0], right.outputs[0]], name="net/add")
    gelu = ir.Node("", "Gelu", [both.outputs[0]], name="net/gelu")
    last = ir.Node("", "MatMul", [gelu.outputs[0], c], outputs=[y], name="net.c/node")
    for node, name, width in (
        (norm, "normed", 64),
        (left, "l", 32),
        (right, "r", 32),
        (both, "s", 32),
        (gelu, "g", 32),
    ):
        node.outputs[0].name = name
        node.outputs[0].shape, node.outputs[0].dtype = ir.Shape(["batch", 3, width]), ir.DataType.FLOAT
    graph = ir.Graph(
        [x], [y], nodes=[norm, left, right, both, gelu, last], initializers=weights, opset_imports={"": 24}, name="net"
    )
    return ir.Model(graph, ir_version=10)
