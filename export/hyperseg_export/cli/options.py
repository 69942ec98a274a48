"""Arguments and options that several verbs of the exporter share."""

from pathlib import Path
from typing import Annotated

import typer

EXTRA = "export"

CheckpointArgument = Annotated[
    Path,
    typer.Argument(
        metavar="CHECKPOINT", help="Folder with config.json, safetensors and tokenizer files, or a .pth file."
    ),
]
AdapterOption = Annotated[
    Path | None,
    typer.Option(help="Folder of a peft LoRA adapter to merge; by default one in the folder CHECKPOINT is found."),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the target if it exists.")]
