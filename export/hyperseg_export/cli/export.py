"""`hyperseg-trt export`: from a checkpoint to a bundle."""

from typing import Annotated

import typer

from hyperseg_export.cli import options
from hyperseg_export.cli.progress import ExportProgress
from hyperseg_runtime import console
from hyperseg_runtime.cli import options as runtime_options
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.reports.manifest_tables import megabytes, print_parity


def export(
    checkpoint: options.CheckpointArgument,
    bundle: runtime_options.BundleArgument,
    adapter: options.AdapterOption = None,
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
    overwrite: options.OverwriteOption = False,
    skip_parity: Annotated[
        bool, typer.Option("--skip-parity", help="Do not compare graphs with modules; recorded as not measured.")
    ] = False,
    keep_adapter: Annotated[
        bool, typer.Option("--keep-adapter", help="Keep the adapter apart from the weights; `lora swap` replaces it.")
    ] = False,
    as_json: runtime_options.JsonOption = False,
) -> None:
    """Turn CHECKPOINT into BUNDLE: seven ONNX graphs, checked against their modules on photographs.

    BUNDLE appears whole or not at all. A killed export continues when called again.
    """
    build = console.load_extra("hyperseg_export.export", options.EXTRA)
    chosen = build.ExportOptions(
        adapter, context, overwrite, not skip_parity, keep_adapter, precision, pairs(precision_of)
    )
    with ExportProgress() as progress:
        manifest = build.export_bundle(checkpoint, bundle, chosen, progress)
    if as_json:
        console.print_json(manifest.model_dump(mode="json"))
        return
    console.out.print(f"bundle  {bundle} ({megabytes(manifest.size_bytes)})\n", markup=False)
    print_parity(manifest)


def pairs(options: list[str] | None) -> dict[str, str]:
    """NAME=VALUE options as a mapping."""
    found: dict[str, str] = {}
    for option in options or []:
        name, equals, value = option.partition("=")
        if not equals:
            raise InputError(f"expected NAME=VALUE, got {option!r}")
        found[name] = value
    return found
