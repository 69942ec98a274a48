"""`hyperseg-trt verify`: bundles against modules, modules and graphs against the original code."""

from pathlib import Path
from typing import Annotated

import typer

from hyperseg_export.cli import options
from hyperseg_export.cli.progress import ExportProgress
from hyperseg_runtime import console
from hyperseg_runtime.cli import options as runtime_options
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.files.results import refuse_own_result


def verify(
    bundle: Annotated[Path | None, typer.Argument(metavar="[BUNDLE]", help="Folder written by export.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint the bundle was made from: its modules are the reference.")
    ] = None,
    adapter: options.AdapterOption = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="Photograph to compare on (repeatable); default: two samples.")
    ] = None,
    golden: Annotated[Path | None, typer.Option(help="Folder of arrays made by the original code.")] = None,
    as_json: runtime_options.JsonOption = False,
) -> None:
    """Compare: BUNDLE with the modules of its checkpoint, or --golden DIR with modules and graphs."""
    if (bundle is None) == (golden is None):
        raise InputError("verify takes either BUNDLE (with --checkpoint) or --golden DIR")
    for photograph in image or []:
        refuse_own_result(photograph)
    checks = console.load_extra("hyperseg_export.verify", options.EXTRA)
    with ExportProgress() as progress:
        if golden is not None:
            report = checks.verify_golden(golden, progress)
        else:
            entries = checks.verify_bundle(bundle, checkpoint, adapter, image or [], progress)
    if golden is not None:
        checks.print_golden(report, as_json)
    else:
        checks.print_bundle(entries, as_json)
