"""Sums in place of products give the numbers of the reference, in bodies of either form of the operator."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from deformable_attention_support import BODY, check, model_of, random_call, run, session_of
from hyperseg_export.engine.bodies import sum_products
from hyperseg_export.onnx.lint import IMPORTABLE
from hyperseg_kernels.deformable_attention import onnx_projected

SHAPES = [(4, 5), (1, 1), (9, 11)]


@pytest.mark.parametrize(("batch", "queries"), [(1, 1), (2, 13), (1, 120)])
def test_sums_give_what_products_give(batch: int, queries: int) -> None:
    value, locations, weights, shapes = random_call(batch, queries, 2, 8, 4, SHAPES)
    model = model_of(shapes, heads=2, channels=8, points=4)
    products = run(session_of(model), value, locations, weights)
    assert sum_products(model) == len(SHAPES)
    sums = run(session_of(model), value, locations, weights)
    check(sums, value, locations, weights, shapes, BODY)
    assert np.abs(sums - products).max() <= 1e-6 * np.abs(products).max()


@pytest.mark.parametrize("value_type", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_no_product_is_left_and_the_model_is_whole(value_type: int) -> None:
    model = model_of(SHAPES, heads=2, channels=8, points=4, value_type=value_type)
    sum_products(model)
    (body,) = model.functions
    assert "MatMul" not in {node.op_type for node in body.node} <= IMPORTABLE
    onnx.checker.check_model(model, full_check=True)
    assert sum_products(model) == 0


def test_the_fused_form_and_bodies_of_others() -> None:
    model = model_of(SHAPES, heads=2, channels=8, points=4)
    model.functions.append(onnx_projected.function_body(2, 3, 24))
    model.functions.append(
        onnx.helper.make_function(
            "other", "Product", ["a", "b"], ["c"], [onnx.helper.make_node("MatMul", ["a", "b"], ["c"])], []
        )
    )
    assert sum_products(model) == 2 * len(SHAPES)
    assert [node.op_type for node in model.functions[2].node] == ["MatMul"]
