"""Quantised graphs are what TensorRT reads as quantised: by its sister product, which builds without a GPU."""

from collections.abc import Callable
from pathlib import Path

import pytest
import rtx_gate

from hyperseg_runtime.bundle.manifest import GraphEntry
from hyperseg_runtime.bundle.opening import read_manifest
from hyperseg_runtime.bundle.quantization import RoundedEntry
from hyperseg_runtime.contracts.quantization import Scheme
from hyperseg_runtime.families import FAMILIES
from support import others_in_full

TYPES = {Scheme.INT8: "INT8", Scheme.FP8: "FP8", Scheme.INT4: "INT4", Scheme.INT8_WEIGHTS: "INT8"}


def require_built(bundle: Path, entry: GraphEntry, scratch: Path) -> None:
    """What TensorRT-RTX found to be quantised in a graph that it built is the recipe's account of it."""
    contract = scratch / "spec.json"
    contract.write_text(entry.spec.model_dump_json())
    row = rtx_gate.run_child(bundle / entry.file, contract, 1, ["SM89"], read_manifest(bundle).family)
    assert row["built"], (entry.spec.name, row["error"])
    assert entry.rounded is not None
    assert row["dequantized"] == expected(entry.rounded), entry.spec.name


def expected(rounded: RoundedEntry) -> dict[str, int]:
    """Every product has a weight, and in 8 bits on both sides an activation."""
    return {TYPES[rounded.scheme]: rounded.products * (1 if rounded.scheme.weights_alone else 2)}


def rounded_graphs(bundle: Path) -> list[GraphEntry]:
    """The one with the fewest parameters first."""
    rounded = [entry for entry in read_manifest(bundle).graphs if entry.rounded]
    return sorted(rounded, key=lambda entry: entry.parameters)


@pytest.mark.parametrize("family", [pytest.param(name, marks=others_in_full(name)) for name in FAMILIES])
@pytest.mark.parametrize("recipe", ["int8", "int4"])
def test_the_smallest_graph_is_built_as_the_recipe_says(
    rounded_bundle: Callable[..., Path], tmp_path: Path, family: str, recipe: str
) -> None:
    bundle = rounded_bundle(recipe, family)
    require_built(bundle, rounded_graphs(bundle)[0], tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("recipe", ["int8", "int4", "fp8", "int8-weights"])
def test_every_quantised_graph_is_built_as_the_recipe_says(
    rounded_bundle: Callable[..., Path], tmp_path: Path, family: str, recipe: str
) -> None:
    bundle = rounded_bundle(recipe, family)
    for entry in rounded_graphs(bundle):
        require_built(bundle, entry, tmp_path)
