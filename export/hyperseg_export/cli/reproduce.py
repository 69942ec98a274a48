"""`hyperseg-trt reproduce`: what the authors print, against what a bundle of their checkpoint gives."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TaskID

from hyperseg_export.cli import options
from hyperseg_export.cli.progress import ExportProgress
from hyperseg_runtime import console
from hyperseg_runtime.cli import options as runtime_options


def reproduce(
    checkpoint: options.CheckpointArgument,
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Folder with a folder for each data set, under its name in eval.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the bundle and all results.")] = Path("reproduction"),
    data_set: Annotated[
        list[str] | None, typer.Option(help="Only this data set (repeatable); default: all that the family has.")
    ] = None,
    items: Annotated[int | None, typer.Option(min=1, help="So many samples of each split; default: all.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin the evaluations anew; the bundle stays.")
    ] = False,
    threads: runtime_options.ThreadsOption = None,
    native: runtime_options.NativeOption = False,
    as_json: runtime_options.JsonOption = False,
) -> None:
    """Export CHECKPOINT, compare its graphs with its modules, evaluate it, and show what its authors print beside that.

    RefCOCO's relatives share the folder DATA/refer. Data sets that are not there are not measured. A killed run goes on
    where it stopped. A run with --items has evaluations of its own, and leaves those of all samples alone.
    """
    reproduction = console.load_extra("hyperseg_export.reproduction", options.EXTRA)
    chosen = runtime_options.backend_options(threads, native)
    with ExportProgress() as progress, _samples() as tell:
        family, rows = reproduction.reproduce(
            checkpoint, data, out, progress, chosen, data_set or (), items, overwrite, tell
        )
    if as_json:
        content = {"family": family.name, "note": family.printed_note, "numbers": [row.told() for row in rows]}
        console.print_json(content)
        return
    console.print_rows(
        f"{family.title}: printed and measured",
        ("data set", "split", "row", "metric", ">printed", ">measured", ">difference", "not measured because"),
        [
            (
                row.printed.data_set,
                row.printed.split,
                row.printed.row,
                row.printed.metric,
                f"{row.printed.value:.4f}",
                "not measured" if row.measured is None else f"{row.measured:.4f}",
                "" if row.measured is None else f"{row.measured - row.printed.value:+.4f}",
                row.reason,
            )
            for row in rows
        ],
    )
    console.out.print(f"to know  {family.printed_note}", markup=False)
    console.out.print(f"numbers  {out / reproduction.RESULT}", markup=False)


@contextmanager
def _samples() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each data set on stderr where somebody watches."""
    with Progress(console=console.err, transient=True, disable=not console.err.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(name: str, done: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=of)
            progress.update(tasks[name], completed=done)

        yield tell
