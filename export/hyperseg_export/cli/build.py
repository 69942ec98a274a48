"""`hyperseg-trt build`: TensorRT engines of a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from hyperseg_export.cli.progress import ExportProgress
from hyperseg_runtime import console
from hyperseg_runtime.cli import options as runtime_options

EXTRA = "trt"


def build(
    bundle: runtime_options.BundleArgument,
    graph: Annotated[list[str] | None, typer.Option(help="Build only this graph (repeatable).")] = None,
    profile: Annotated[
        str,
        typer.Option(
            help="latency: batch 1. throughput: tuned for the largest batch, slower at 1. video: batch 1 with memory. "
            "The language model gets three profiles each time; TensorRT may store its weights once per profile."
        ),
    ] = "latency",
    level: Annotated[
        int,
        typer.Option(min=0, max=5, help="How long TensorRT searches; 5 can take hours, below 3 engines are slower."),
    ] = 3,
    workspace_gb: Annotated[
        float | None, typer.Option(help="GPU memory for trying kernels; a small cap excludes fast ones. Default: all.")
    ] = None,
    version_compatible: Annotated[
        bool,
        typer.Option("--version-compatible", help="Runs on later releases of TensorRT; slower, larger by a runtime."),
    ] = False,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="Runs on Ampere and later GPUs; not the fastest on any.")
    ] = False,
    weight_streaming: Annotated[
        bool,
        typer.Option(
            "--weight-streaming",
            help="Weights may stay on the host (see run --weights-gb); calls then wait for them.",
        ),
    ] = False,
    refit: Annotated[
        bool, typer.Option("--refit", help="Weights can be exchanged later; TensorRT folds none of them.")
    ] = False,
    stripped: Annotated[
        bool, typer.Option("--stripped", help="Plans without weights; they must be refitted from the ONNX files.")
    ] = False,
    attention: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[GRAPH=]FORM",
            help="fused: one kernel or no engine. decomposed: TensorRT chooses. written-out: without its attention "
            "layer. Default by release and types; the build says what the engine holds (repeatable).",
        ),
    ] = None,
    plugin: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True, dir_okay=False, help="Library of TensorRT plugins in place of our own kernels (repeatable)."
        ),
    ] = None,
    no_plugins: Annotated[
        bool,
        typer.Option(
            "--no-plugins", help="Our operators by their bodies of standard operators: slower, runs anywhere."
        ),
    ] = False,
    accept_ungated: Annotated[
        list[str] | None,
        typer.Option(metavar="GRAPH", help="Also build this quantised graph that passed no task metric (repeatable)."),
    ] = None,
    skip_parity: Annotated[
        bool,
        typer.Option("--skip-parity", help="Do not compare engines with graphs; run then wants --accept-unmeasured."),
    ] = False,
    bisect: Annotated[
        bool,
        typer.Option(
            "--bisect",
            help="Where an engine differs from its graph, build it again with tensors on the way as outputs, name the "
            "first that differs, and leave a small case for polygraphy.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be built; needs neither GPU nor TensorRT.")
    ] = False,
    as_json: runtime_options.JsonOption = False,
) -> None:
    """Build TensorRT engines of BUNDLE for this machine's GPU, read each one back, compare it with its graph.

    Engines go to BUNDLE/engines/TARGET, one folder per GPU model and TensorRT release. A build that was stopped goes
    on when called again.
    """
    verb = console.load_extra("hyperseg_export.engine.verb", EXTRA)
    chosen = verb.BuildOptions(
        profile=profile,
        level=level,
        workspace_bytes=verb.workspace_bytes(workspace_gb),
        version_compatible=version_compatible,
        hardware_compatible=hardware_compatible,
        weight_streaming=weight_streaming,
        refit=refit,
        stripped=stripped,
        attention=verb.attention_forms(attention),
        plugins=verb.plugin_form(plugin, no_plugins),
    )
    verb.require_gated(bundle, graph, accept_ungated or ())
    if dry_run:
        verb.print_plan(bundle, graph, chosen, as_json)
        return
    engines = console.load_extra("hyperseg_export.engine.build", EXTRA)
    with ExportProgress() as progress:
        manifest = engines.build_engines(bundle, chosen, graph, progress, not skip_parity, plugin or (), bisect)
    verb.show_engines(manifest, as_json)
