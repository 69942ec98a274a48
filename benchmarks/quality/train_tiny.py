"""Train the tiny HyperSeg, write it as a checkpoint, score it.

python benchmarks/quality/train_tiny.py train FOLDER
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from hyperseg_runtime.console import load_extra, out, print_json, run_app

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where scenes, state and log are kept.")]
EXTRA = "export"


@app.command()
def train(
    folder: FolderArgument,
    seed: Annotated[int, typer.Option(help="Seed of first weights and of the order of scenes.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, or a GPU as torch names it.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    start: Annotated[
        Path | None, typer.Option(help="Checkpoint written by `write`, to train its last stage once more.")
    ] = None,
    language_steps: Annotated[int | None, typer.Option(min=1, help="Steps of the stage that learns to read.")] = None,
    masks_steps: Annotated[int | None, typer.Option(min=1, help="Steps of the stage after it.")] = None,
    together_steps: Annotated[int | None, typer.Option(min=1, help="Steps of the last stage.")] = None,
) -> None:
    """Train in FOLDER, or go on where it was stopped: the result is the same."""
    import dataclasses

    import torch

    recipe = load_extra("hyperseg_export.families.hyperseg.training.recipe", EXTRA)
    run = load_extra("hyperseg_export.families.hyperseg.training.run", EXTRA)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # the optimiser's smallest numbers would be slow
    if device != "cpu":  # what intercepts every call costs a little
        torch.set_default_device(device)
    folder.mkdir(parents=True, exist_ok=True)
    if start is not None:
        load_extra("hyperseg_export.families.hyperseg.training.writing", EXTRA).start_from(folder, start)
    plan = recipe.Recipe(seed=seed)
    for name, steps in (("language", language_steps), ("masks", masks_steps), ("together", together_steps)):
        if steps is not None:
            plan = dataclasses.replace(plan, **{name: dataclasses.replace(getattr(plan, name), steps=steps)})

    def tell(stage: str, step: int, steps: int, means: Mapping[str, float]) -> None:
        shown = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        out.print(f"{stage} {step}/{steps}  {shown}", markup=False, highlight=False, soft_wrap=True)

    run.Training(folder, plan, tell).run()


@app.command()
def write(
    folder: FolderArgument,
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Folder to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace CHECKPOINT if it exists.")] = False,
) -> None:
    """Write the last state as a checkpoint in the published layout."""
    load_extra("hyperseg_export.families.hyperseg.training.writing", EXTRA).write_trained(folder, checkpoint, overwrite)


@app.command()
def evaluate(
    folder: FolderArgument,
    scenes: Annotated[int, typer.Option(min=1, help="Held-out scenes.")] = 500,
    clips: Annotated[int, typer.Option(min=0, help="Held-out clips.")] = 50,
) -> None:
    """Export the last state and score it in ONNX Runtime; the result joins FOLDER/curve.jsonl."""
    print_json(load_extra("training_scores", EXTRA).evaluate_training(folder, scenes, clips))


if __name__ == "__main__":
    run_app(app)
