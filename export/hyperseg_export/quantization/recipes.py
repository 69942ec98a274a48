"""Recipes: how each graph of a bundle is rounded, by one word."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from hyperseg_export.families.family import QuantizationHints
from hyperseg_export.quantization.ranges import Method
from hyperseg_runtime.contracts.graph_spec import GraphSpec, Reuse
from hyperseg_runtime.contracts.quantization import Scheme
from hyperseg_runtime.errors import InputError


@dataclass(frozen=True)
class GraphRecipe:
    """How the layers of one graph are rounded.

    method  how ranges of activations are found; says nothing where weights alone are rounded
    smooth  whether SmoothQuant goes before
    block   largest size of blocks where weights alone are rounded
    skip    regular expression for names of layers -> why they stay as they are
    """

    scheme: Scheme
    method: Method = Method.MAX
    smooth: bool = False
    block: int = 32
    skip: Mapping[str, str] = field(default_factory=dict)


def reads_rows(spec: GraphSpec) -> bool:
    """Whether a graph is called for a few rows at a time, token by token: then reading its weights is its work, and
    fewer bits of them alone save time. Elsewhere weights alone were slower than both sides in 8 bits: 0.74 against
    0.36 of float32's time for 1,040 rows of a language model in ONNX Runtime 1.31.
    """
    return bool(spec.in_place) or spec.reuse is Reuse.TOKEN


RECIPES: Mapping[str, GraphRecipe] = {
    "int8": GraphRecipe(Scheme.INT8, Method.MSE, smooth=True),
    "fp8": GraphRecipe(Scheme.FP8),
    "int4": GraphRecipe(Scheme.INT4),
    "int8-weights": GraphRecipe(Scheme.INT8_WEIGHTS),
    "int8-dynamic": GraphRecipe(Scheme.INT8_DYNAMIC),
}
PRESETS: Mapping[str, Callable[[GraphSpec], str]] = {
    "int8": lambda spec: "int8",
    "fp8": lambda spec: "fp8",
    "int4": lambda spec: "int4" if reads_rows(spec) else "int8",
    "int8-weights": lambda spec: "int8-weights" if reads_rows(spec) else "int8",
    "int8-dynamic": lambda spec: "int8-dynamic",
}
"""Name of a recipe for a whole bundle -> each graph's."""
WIDE = "wide"
"""In place of a recipe: the graph stays as it is."""
AUTO = "auto"
"""In place of a recipe for all: the cheapest mix that stays within the budget."""


@dataclass(frozen=True)
class Assignment:
    """recipes: graph -> recipe; kept: graph -> why it stays as it is."""

    recipes: Mapping[str, GraphRecipe]
    kept: Mapping[str, str]


def for_graph(graph: str, recipe: str, hints: QuantizationHints) -> GraphRecipe:
    """The recipe of this name with the layers of the graph that the family leaves out."""
    chosen = RECIPES[recipe]
    return replace(chosen, skip={**hints.skip.get(graph, {}), **chosen.skip})


def assign(
    specs: tuple[GraphSpec, ...], recipe: str, overrides: Mapping[str, str], hints: QuantizationHints
) -> Assignment:
    """A recipe for all graphs, with some overridden by another's name or WIDE. Raises InputError for unknown names."""
    names = {spec.name: spec for spec in specs}
    for graph, chosen in overrides.items():
        if graph not in names:
            raise InputError(f"there is no graph {graph!r} to set a recipe for; graphs are {', '.join(names)}")
        if names[graph].exact and chosen != WIDE:
            raise InputError(f"graph {graph} computes exactly by its contract and cannot be quantised")
        if chosen not in (*RECIPES, WIDE):
            raise InputError(f"graph {graph}: unknown recipe {chosen!r}; choose {', '.join((*RECIPES, WIDE))}")
    if recipe not in PRESETS:
        raise InputError(f"unknown recipe {recipe!r}; choose {', '.join((*PRESETS, AUTO))}")
    recipes, kept = {}, {}
    for name, spec in names.items():
        reason = "asked for" if overrides.get(name) == WIDE else None
        own = overrides.get(name, PRESETS[recipe](spec))
        if name not in overrides:
            reason = "it computes exactly by its contract" if spec.exact else hints.reason(name, own)
        if reason is not None:
            kept[name] = reason
            continue
        recipes[name] = for_graph(name, own, hints)
    if not recipes:
        raise InputError("no graph is left to quantise; " + "; ".join(f"{name}: {why}" for name, why in kept.items()))
    return Assignment(recipes, kept)
