"""`hyperseg-trt make-synthetic`: a checkpoint at the published size, without the published weights."""

from pathlib import Path
from typing import Annotated

import typer

from hyperseg_export.cli import options
from hyperseg_export.cli.progress import ExportProgress
from hyperseg_runtime import console
from hyperseg_runtime.reports.manifest_tables import megabytes


def make_synthetic(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write the checkpoint to.")],
    preset: Annotated[str, typer.Option(help="Whose layout and size; a name that there is not lists them.")],
    layers: Annotated[
        int | None,
        typer.Option(min=1, help="Only the first layers of the language model, or of ViT-H; everything else whole."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0,
    overwrite: options.OverwriteOption = False,
) -> None:
    """Write a checkpoint of random weights in the published layout and size, to export and measure.

    DIR appears whole or not at all. A killed call goes on at the file it was at when called again.
    """
    synthetic = console.load_extra("hyperseg_export.synthetic", options.EXTRA)
    with ExportProgress() as progress:
        size_bytes = synthetic.make_synthetic(directory, preset, seed, layers, overwrite, progress)
    console.out.print(f"checkpoint  {directory} ({preset}, seed {seed}, {megabytes(size_bytes)})", markup=False)
