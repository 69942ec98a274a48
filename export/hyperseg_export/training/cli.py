"""`python -m hyperseg_export.training.cli FOLDER`: train, or go on where it stopped."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer


def train(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where scenes, state and log are kept.")],
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Train the tiny HyperSeg on made scenes."""
    import torch

    from hyperseg_export.training.recipe import Recipe, Training

    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)

    def tell(stage: str, step: int, steps: int, means: Mapping[str, float]) -> None:
        shown = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        print(f"{stage} {step}/{steps}  {shown}", flush=True)

    Training(folder, Recipe(), tell).run()


if __name__ == "__main__":
    typer.run(train)
