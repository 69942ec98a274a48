"""The cheapest mix of graphs that stays within the budget: what is fastest and loses least, graph by graph."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hyperseg_export.families.family import QuantizationHints
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.parity.saved_calls import read_calls
from hyperseg_export.quantization.gate import Gate
from hyperseg_export.quantization.recipes import WIDE, GraphRecipe, for_graph
from hyperseg_export.quantization.sensitivity import alone, layer_errors
from hyperseg_export.quantization.speed import time_ratio
from hyperseg_export.quantization.workshop import Mix, Workshop
from hyperseg_runtime.bundle.manifest import GraphEntry
from hyperseg_runtime.errors import GateError

CANDIDATES = ("int8", "int4")
"""Recipes that are tried for each graph. ONNX Runtime runs them, so their time can be measured where they are made."""
WORTH = 0.9
"""A graph is rounded where it takes at most this part of its time before."""
LEFT_WIDE = (0.125, 0.25, 0.5)
"""Parts of a failing graph's layers that are left as they are, those that move its outputs most."""


def choose(
    workshop: Workshop,
    gate: Gate,
    hints: QuantizationHints,
    recipe_of: Mapping[str, str],
    threads: int | None,
    progress: Progress,
) -> Mix:
    """Raises GateError where no graph can be rounded within the budget, with the reason for each."""
    mix = Mix({}, {})
    losses: dict[str, float] = {}
    with TemporaryDirectory() as scratch:
        recorded = Path(scratch)
        workshop.record(recorded)
        for entry in workshop.bundle.manifest.graphs:
            name = entry.spec.name
            if entry.spec.exact or recipe_of.get(name) == WIDE:
                mix.keep(name, "it computes exactly by its contract" if entry.spec.exact else "asked for")
                continue
            progress.note(f"{name}: trying")
            reasons: list[str] = []
            forms = _worthwhile(workshop, name, recipe_of.get(name), hints, recorded, threads, reasons)
            fit = _first_within(workshop, gate, forms, recorded, reasons)
            if fit is None:
                mix.keep(name, "; ".join(reasons))
                progress.note(f"{name}: stays as it is: {mix.kept[name]}")
            else:
                mix.rounded[name], losses[name] = fit
                progress.note(f"{name}: {fit[0].number_format}, loses {fit[1]:.2f} points alone")
    while mix.rounded:
        if not gate.judge(workshop.written(mix)).failures:
            return mix
        worst = max(mix.rounded, key=lambda name: losses[name])
        mix.keep(worst, f"with the other graphs the budget of {gate.budget:g} points is exceeded")
        progress.note(f"{worst}: {mix.kept[worst]}")
    reasons = [f"{name}: {reason}" for name, reason in mix.kept.items()]
    raise GateError(
        f"no graph can be rounded within {gate.budget:g} points; no bundle was written:\n  " + "\n  ".join(reasons)
    )


@dataclass(frozen=True)
class _Form:
    recipe: GraphRecipe
    entry: GraphEntry


def _worthwhile(
    workshop: Workshop,
    graph: str,
    asked: str | None,
    hints: QuantizationHints,
    recorded: Path,
    threads: int | None,
    reasons: list[str],
) -> list[_Form]:
    """Forms of a graph that win time, the quickest first; why there are no others goes into `reasons`."""
    before, found = workshop.bundle.manifest.graph(graph), []
    for name in (asked,) if asked else CANDIDATES:
        if not asked and (reason := hints.reason(graph, name)):
            reasons.append(f"{name}: {reason}")
            continue
        recipe = for_graph(graph, name, hints)
        entry = workshop.round(graph, recipe)
        if entry is None or entry.rounded is None:
            reasons.append(f"{name}: none of its layers could be rounded")
            continue
        wide = workshop.bundle.directory / before.file
        ratio = time_ratio(before.spec, wide, workshop.directory / entry.file, recorded, threads)
        if ratio > WORTH:
            reasons.append(f"{name}: takes {ratio:.2f} of its time")
            continue
        timed = entry.rounded.model_copy(update={"time_ratio": round(ratio, 3)})
        found.append((ratio, _Form(recipe, entry.model_copy(update={"rounded": timed}))))
    return [form for _, form in sorted(found, key=lambda pair: pair[0])]


def _first_within(
    workshop: Workshop, gate: Gate, forms: Sequence[_Form], recorded: Path, reasons: list[str]
) -> tuple[GraphEntry, float] | None:
    """The first form that stays within the budget alone, if need be with its worst layers left as they are, and what it
    loses.
    """
    for form in forms:
        for entry in (form.entry, *_narrower(workshop, form, recorded)):
            result = alone(workshop, gate, entry)
            if not result.failures:
                return entry, result.measures[0].drop
        reasons.append(f"{form.recipe.scheme}: {result.failures[0]}, also with half of its layers left as they are")
    return None


def _narrower(workshop: Workshop, form: _Form, recorded: Path) -> Iterator[GraphEntry]:
    """The form with more and more layers left as they are, those that move the outputs most; made when asked for."""
    graph = form.entry.spec.name
    errors = layer_errors(workshop, graph, form.recipe.scheme, list(read_calls(recorded, graph)))
    for part in LEFT_WIDE:
        worst = [name for name, _ in errors[: math.ceil(part * len(errors))]]
        skip = {f"^{re.escape(name)}$": "it moves the graph's outputs most" for name in worst}
        recipe = replace(form.recipe, skip={**form.recipe.skip, **skip})
        entry = workshop.round(graph, recipe, f"-{len(worst)}")
        if entry is not None:
            yield entry
