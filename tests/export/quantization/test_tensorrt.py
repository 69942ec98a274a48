"""Quantised graphs are what TensorRT reads as quantised: by its sister product, which builds without a GPU."""

from collections.abc import Callable
from pathlib import Path

import pytest
import rtx_gate

from hyperseg_runtime.bundle.opening import read_manifest
from hyperseg_runtime.bundle.quantization import RoundedEntry
from hyperseg_runtime.contracts.quantization import Scheme
from support import FIRST_FAMILY

TYPES = {Scheme.INT8: "INT8", Scheme.FP8: "FP8", Scheme.INT4: "INT4", Scheme.INT8_WEIGHTS: "INT8"}


def built(bundle: Path, graph: str, scratch: Path) -> tuple[dict[str, int], RoundedEntry]:
    """Types of what TensorRT-RTX found to be quantised in a graph that it built, and the recipe's account."""
    entry = read_manifest(bundle).graph(graph)
    contract = scratch / "spec.json"
    contract.write_text(entry.spec.model_dump_json())
    row = rtx_gate.run_child(bundle / entry.file, contract, 1, ["SM89"], FIRST_FAMILY)
    assert row["built"], row["error"]
    assert entry.rounded is not None
    return row["dequantized"], entry.rounded


def expected(rounded: RoundedEntry) -> dict[str, int]:
    """Every product has a weight, and in 8 bits on both sides an activation."""
    return {TYPES[rounded.scheme]: rounded.products * (1 if rounded.scheme.weights_alone else 2)}


@pytest.mark.parametrize("recipe", ["int8", "int4"])
def test_the_language_head_is_built_as_the_recipe_says(
    rounded_bundle: Callable[[str], Path], tmp_path: Path, recipe: str
) -> None:
    found, rounded = built(rounded_bundle(recipe), "lm_head", tmp_path)
    assert found == expected(rounded)


@pytest.mark.full
@pytest.mark.parametrize("recipe", ["int8", "int4", "fp8", "int8-weights"])
def test_every_quantised_graph_is_built_as_the_recipe_says(
    rounded_bundle: Callable[[str], Path], tmp_path: Path, recipe: str
) -> None:
    bundle = rounded_bundle(recipe)
    for graph in read_manifest(bundle).rounded_graphs():
        found, rounded = built(bundle, graph, tmp_path)
        assert found == expected(rounded), graph
