"""What the `build` verb prints, and what a plan is made from: needs neither GPU nor TensorRT, nor any extra."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hyperseg_export.engine.attention import AttentionForm
from hyperseg_export.engine.options import ALL_GRAPHS, BuildOptions, EnginePlan, plan_engines
from hyperseg_export.engine.plugins import PluginForm
from hyperseg_runtime import console
from hyperseg_runtime.bundle.engines import EngineManifest
from hyperseg_runtime.bundle.opening import read_manifest
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.reports.engine_tables import print_engines
from hyperseg_runtime.reports.manifest_tables import megabytes

__all__ = [
    "BuildOptions",
    "attention_forms",
    "plugin_form",
    "print_plan",
    "require_gated",
    "show_engines",
    "workspace_bytes",
]

SMALLEST_WORKSPACE_GB = 0.001


def print_plan(bundle: Path, graphs: Sequence[str] | None, options: BuildOptions, as_json: bool) -> None:
    """What a build would make, from the bundle's manifest alone."""
    plans = plan_engines(read_manifest(bundle), graphs, options)
    if as_json:
        console.print_json({"options": options.model_dump(), "engines": [_plan_json(plan) for plan in plans]})
        return
    console.print_rows(
        f"Engines of {bundle}, profile {options.profile}, level {options.level}",
        ("graph", "precision", "profiles", ">plan size", ">host memory"),
        [(plan.graph, plan.number_format, _profiles(plan), _size(plan), megabytes(plan.host_bytes)) for plan in plans],
    )
    console.out.print("Sizes are forecasts from the weights; build time is not known before a build (not measured).")


def require_gated(bundle: Path, graphs: Sequence[str] | None, accepted: Sequence[str]) -> None:
    """Raise BundleError for quantised graphs to be built that passed no task metric and are not accepted by name."""
    read_manifest(bundle).require_gated(accepted, graphs)


def show_engines(manifest: EngineManifest, as_json: bool) -> None:
    if as_json:
        console.print_json(manifest.model_dump(mode="json"))
    else:
        print_engines(manifest)


def attention_forms(texts: Sequence[str] | None) -> dict[str, AttentionForm]:
    """FORM for all graphs, or GRAPH=FORM for one. Raises InputError."""
    forms = {}
    for text in texts or ():
        graph, _, form = text.rpartition("=")
        if form not in list(AttentionForm):
            raise InputError(f"--attention {text}: expected FORM or GRAPH=FORM, a form is {', '.join(AttentionForm)}")
        forms[graph or ALL_GRAPHS] = AttentionForm(form)
    return forms


def plugin_form(libraries: Sequence[Path] | None, no_plugins: bool) -> PluginForm:
    """Raises InputError for both."""
    if libraries and no_plugins:
        raise InputError("--plugin or --no-plugins, not both: a library is for plugins, the bodies need none")
    if no_plugins:
        return PluginForm.BODY
    return PluginForm.LIBRARY if libraries else PluginForm.AHEAD_OF_TIME


def workspace_bytes(gigabytes: float | None) -> int | None:
    """Raises InputError for what is no amount of memory."""
    if gigabytes is None:
        return None
    if not (math.isfinite(gigabytes) and gigabytes >= SMALLEST_WORKSPACE_GB):
        raise InputError(
            f"--workspace-gb is {gigabytes}, expected a number of gigabytes, {SMALLEST_WORKSPACE_GB} or more"
        )
    return int(gigabytes * 1e9)


def _profiles(plan: EnginePlan) -> str:
    """Each profile with the ranges of its axes."""
    return "; ".join(
        f"{profile.name} ({', '.join(f'{a} {r.minimum}..{r.typical}..{r.maximum}' for a, r in profile.axes.items())})"
        for profile in plan.profiles
    )


def _size(plan: EnginePlan) -> str:
    smallest, largest = plan.plan_bytes
    return megabytes(smallest) if smallest == largest else f"{megabytes(smallest)} to {megabytes(largest)}"


def _plan_json(plan: EnginePlan) -> dict[str, Any]:
    return {
        "graph": plan.graph,
        "precision": plan.precision,
        "quantised": plan.scheme,
        "profiles": [
            {"name": profile.name, "axes": {axis: limits.model_dump() for axis, limits in profile.axes.items()}}
            for profile in plan.profiles
        ],
        "weight_bytes": plan.weight_bytes,
        "plan_bytes": plan.plan_bytes,
        "host_bytes": plan.host_bytes,
    }
