"""The whole command line: the runtime's verbs and those that make and check bundles.

Nothing heavy is imported here; a verb imports what it needs when it runs.
"""

from pathlib import Path
from typing import Annotated

import typer

from hyperseg_export import lora_cli
from hyperseg_export.console import ExportProgress
from hyperseg_runtime import cli, console, video_cli
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.manifest_tables import megabytes, print_parity

app = cli.app
app.command()(video_cli.video)
app.add_typer(lora_cli.app, name="lora")
EXTRA = "export"

CheckpointArgument = Annotated[
    Path, typer.Argument(metavar="CHECKPOINT", help="Folder with config.json, safetensors and tokenizer files.")
]
AdapterOption = Annotated[
    Path | None, typer.Option(help="Folder of a peft LoRA adapter to merge; by default one in CHECKPOINT is found.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the target if it exists.")]


@app.command()
def make_tiny(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write the checkpoint to.")],
    family: Annotated[str, typer.Option(help="Model family.")] = "hyperseg",
    seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a checkpoint in miniature: the published layout with random weights."""
    tiny = console.load_extra("hyperseg_export.tiny", EXTRA)
    tiny.make_tiny(directory, family, seed, overwrite)
    console.out.print(f"checkpoint  {directory} ({family}, seed {seed}, random weights)", markup=False)


@app.command()
def export(
    checkpoint: CheckpointArgument,
    bundle: cli.BundleArgument,
    adapter: AdapterOption = None,
    context: Annotated[
        int | None, typer.Option(min=1, help="Longest prompt plus answer in tokens; default 1280.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(help="fp32, fp16, bf16, or mixed: language model in bf16, everything else in fp16."),
    ] = "fp32",
    precision_of: Annotated[
        list[str] | None,
        typer.Option(metavar="GRAPH=PRECISION", help="Another precision for one graph (repeatable)."),
    ] = None,
    overwrite: OverwriteOption = False,
    skip_parity: Annotated[
        bool, typer.Option("--skip-parity", help="Do not compare graphs with modules; recorded as not measured.")
    ] = False,
    keep_adapter: Annotated[
        bool, typer.Option("--keep-adapter", help="Keep the adapter apart from the weights; `lora swap` replaces it.")
    ] = False,
    as_json: cli.JsonOption = False,
) -> None:
    """Turn CHECKPOINT into BUNDLE: seven ONNX graphs, checked against their modules on photographs.

    BUNDLE appears whole or not at all. A killed export continues when called again.
    """
    build = console.load_extra("hyperseg_export.build", EXTRA)
    options = build.ExportOptions(
        adapter, context, overwrite, not skip_parity, keep_adapter, precision, pairs(precision_of)
    )
    with ExportProgress() as progress:
        manifest = build.export_bundle(checkpoint, bundle, options, progress)
    if as_json:
        console.print_json(manifest.model_dump(mode="json"))
        return
    console.out.print(f"bundle  {bundle} ({megabytes(manifest.size_bytes)})\n", markup=False)
    print_parity(manifest)


@app.command()
def verify(
    bundle: Annotated[Path | None, typer.Argument(metavar="[BUNDLE]", help="Folder written by export.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint the bundle was made from: its modules are the reference.")
    ] = None,
    adapter: AdapterOption = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="Photograph to compare on (repeatable); default: two samples.")
    ] = None,
    golden: Annotated[Path | None, typer.Option(help="Folder of arrays made by the original code.")] = None,
    as_json: cli.JsonOption = False,
) -> None:
    """Compare: BUNDLE with the modules of its checkpoint, or --golden DIR with modules and graphs."""
    if (bundle is None) == (golden is None):
        raise InputError("verify takes either BUNDLE (with --checkpoint) or --golden DIR")
    checks = console.load_extra("hyperseg_export.verify", EXTRA)
    with ExportProgress() as progress:
        if golden is not None:
            report = checks.verify_golden(golden, progress)
        else:
            entries = checks.verify_bundle(bundle, checkpoint, adapter, image or [], progress)
    if golden is not None:
        checks.print_golden(report, as_json)
    else:
        checks.print_bundle(entries, as_json)


@app.command()
def build(
    bundle: cli.BundleArgument,
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
    plugin: cli.PluginOption = None,
    skip_parity: Annotated[
        bool,
        typer.Option("--skip-parity", help="Do not compare engines with graphs; run then wants --accept-unmeasured."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; needs neither GPU nor TensorRT.")] = False,
    as_json: cli.JsonOption = False,
) -> None:
    """Build TensorRT engines of BUNDLE for this machine's GPU, read each one back, compare it with its graph.

    Engines go to BUNDLE/engines/TARGET, one folder per GPU model and TensorRT release. A build that was stopped goes
    on when called again.
    """
    verb = console.load_extra("hyperseg_export.engine.verb", EXTRA)
    options = verb.BuildOptions(
        profile=profile,
        level=level,
        workspace_bytes=verb.workspace_bytes(workspace_gb),
        version_compatible=version_compatible,
        hardware_compatible=hardware_compatible,
        weight_streaming=weight_streaming,
        refit=refit,
        stripped=stripped,
    )
    if dry_run:
        verb.print_plan(bundle, graph, options, as_json)
        return
    with ExportProgress() as progress:
        manifest = verb.build_engines(bundle, options, graph, progress, not skip_parity, plugin or ())
    verb.show_engines(manifest, as_json)


def pairs(options: list[str] | None) -> dict[str, str]:
    """NAME=VALUE options as a mapping."""
    found: dict[str, str] = {}
    for option in options or []:
        name, equals, value = option.partition("=")
        if not equals:
            raise InputError(f"expected NAME=VALUE, got {option!r}")
        found[name] = value
    return found


def main() -> None:
    console.run_app(app)
