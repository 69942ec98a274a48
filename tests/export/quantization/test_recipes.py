"""A recipe gives every graph its own; families and callers may take graphs out, each with a reason."""

import pytest

from hyperseg_export.families.family import QuantizationHints
from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_export.quantization.recipes import RECIPES, WIDE, assign
from hyperseg_runtime.contracts.quantization import Scheme
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families import FAMILIES
from support import FIRST_FAMILY

FAMILY = FAMILIES[FIRST_FAMILY]
SPECS = FAMILY.graph_specs(FAMILY.published)
NO_HINTS = QuantizationHints()


def test_four_bits_are_for_graphs_that_read_a_few_rows() -> None:
    made = assign(SPECS, "int4", {}, NO_HINTS)
    schemes = {name: recipe.scheme for name, recipe in made.recipes.items()}
    assert {name for name, scheme in schemes.items() if scheme is Scheme.INT4} == {"llm", "lm_head"}
    assert set(schemes.values()) == {Scheme.INT4, Scheme.INT8}
    assert set(made.kept) == {spec.name for spec in SPECS if spec.exact}
    assert all("exactly" in reason for reason in made.kept.values())


def test_a_family_keeps_a_graph_unless_it_is_asked_for_by_name() -> None:
    hints = QuantizationHints(wide={"fvp": {"int8": "a reason"}}, skip={"llm": {"out": "another"}})
    assert assign(SPECS, "int8", {}, hints).kept["fvp"] == "a reason"
    assert "fvp" not in assign(SPECS, "fp8", {}, hints).kept
    asked = assign(SPECS, "int8", {"fvp": "int4", "llm": WIDE}, hints)
    assert asked.recipes["fvp"].scheme is Scheme.INT4 and asked.kept["llm"] == "asked for"
    assert assign(SPECS, "int8", {}, hints).recipes["llm"].skip == {"out": "another"}


@pytest.mark.parametrize(
    ("recipe", "overrides", "said"),
    [
        ("int5", {}, "unknown recipe 'int5'"),
        ("int8", {"lm": "int8"}, "no graph 'lm'"),
        ("int8", {"llm": "int5"}, "graph llm: unknown recipe 'int5'"),
        ("int8", {"mask_readout": "int8"}, "computes exactly"),
        ("int8", {spec.name: WIDE for spec in SPECS}, "no graph is left"),
    ],
)
def test_what_cannot_be_assigned_says_why(recipe: str, overrides: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        assign(SPECS, recipe, overrides, NO_HINTS)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_family_says_is_about_its_graphs(family: str) -> None:
    hints = EXPORT_FAMILIES[family].quantization
    names = {spec.name for spec in FAMILIES[family].graph_specs(FAMILIES[family].published)}
    assert {*hints.wide, *hints.skip} <= names and hints.requests
    for request in hints.requests:
        assert FAMILIES[family].with_task(request).task
    for reasons in (*hints.wide.values(), *hints.skip.values()):
        assert all(reasons.values())
    for recipes in hints.wide.values():
        assert recipes.keys() <= {"", *RECIPES}
    assert assign(tuple(FAMILIES[family].graph_specs(FAMILIES[family].published)), "int8", {}, hints).recipes
