"""`hyperseg-trt make-tiny`: a checkpoint in miniature."""

from pathlib import Path
from typing import Annotated

import typer

from hyperseg_export.cli import options
from hyperseg_runtime import console


def make_tiny(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write the checkpoint to.")],
    family: Annotated[str, typer.Option(help="Model family.")] = "hyperseg",
    seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0,
    overwrite: options.OverwriteOption = False,
) -> None:
    """Write a checkpoint in miniature: the published layout with random weights."""
    tiny = console.load_extra("hyperseg_export.make_tiny", options.EXTRA)
    tiny.make_tiny(directory, family, seed, overwrite)
    console.out.print(f"checkpoint  {directory} ({family}, seed {seed}, random weights)", markup=False)
