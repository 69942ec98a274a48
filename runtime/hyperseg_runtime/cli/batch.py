"""`hyperseg-trt batch`: one request asked about many images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hyperseg_runtime import console
from hyperseg_runtime.cli import options
from hyperseg_runtime.cli.asked import Asked, ClassesOption, asked_of
from hyperseg_runtime.cli.workers import RayOption, WorkersOption, worker_of
from hyperseg_runtime.contracts.requests import Classes, Expressions
from hyperseg_runtime.errors import PartialInputError
from hyperseg_runtime.files.locking import sole_writer
from hyperseg_runtime.files.writing import output_folder
from hyperseg_runtime.images.frames import LeftOut, told


def batch(
    bundle: options.BundleArgument,
    inputs: Annotated[
        Path, typer.Argument(metavar="INPUTS", help="Folder of images, COCO file, or parquet file with a column image.")
    ],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...", help="What to segment in every image; none: the parquet file's column text."
        ),
    ] = None,
    classes: ClassesOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results"),
    task: Annotated[
        str | None, typer.Option(help="One of the family's tasks for what is asked (see inspect); default: its first.")
    ] = None,
    also: options.AlsoOption = None,
    threads: options.ThreadsOption = None,
    native: options.NativeOption = False,
    backend: options.BackendOption = "onnxruntime",
    low_memory: options.LowMemoryOption = False,
    bf16: options.Bf16Option = False,
    verify_hashes: options.VerifyHashesOption = False,
    accept_unmeasured: options.UnmeasuredOption = False,
    engines: options.EnginesOption = None,
    weights_gb: options.WeightsOption = None,
    ray: RayOption = False,
    workers: WorkersOption = None,
    overwrite: options.OverwriteOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Segment every image of INPUTS: the files of `run` for each, and items.jsonl with a line for each.

    In a folder, and in the folders below it, what a file holds says whether it is an image; hidden files are none.
    A batch that was killed goes on where it stopped when called again with the same settings; images that failed or
    were replaced are tried once more, and with --overwrite all are. What fails is told in items.jsonl, what was left
    out on stderr and with --json; the exit code is 11 if images failed or were lost.
    """
    from hyperseg_runtime.batch.batch import run_batch
    from hyperseg_runtime.batch.inputs import open_inputs
    from hyperseg_runtime.batch.segmenting import ERROR, Segmenting
    from hyperseg_runtime.batch.subject import Subject

    options.require_texts(texts or [])
    asked = asked_of(texts or [], task, classes) if texts or classes is not None else Asked(Expressions((), task))
    assert isinstance(asked.request, Expressions | Classes)  # regions belong to one image
    found = open_inputs(inputs.resolve())
    chosen = options.backend_options(
        threads, native, accept_unmeasured, engines, weights_gb, low_memory, bf16, verify_hashes
    )
    job = Segmenting(
        Subject(bundle, backend, chosen),
        found,
        asked.request,
        out.resolve(),
        options.kinds_of(also),
        tuple((asked.ids or {}).items()),
        overwrite,
    )
    work = worker_of(ray, workers)
    with output_folder(out), sole_writer(out), _progress() as tell:
        rows = run_batch(job, work, tell)
    failed = {key: own[0][ERROR] for key, own in rows.items() if own and ERROR in own[0]}
    if as_json:
        left_out = [row._asdict() for row in found.left_out]
        console.print_json({"items": len(rows), "failed": failed, "left_out": left_out, "out": str(out)})
    else:
        console.out.print(f"{len(rows) - len(failed)} of {len(rows)} images, results in {out}", markup=False)
    missing = _missing(failed, len(rows), found.left_out)
    if failed or any(row.lost for row in found.left_out):
        raise PartialInputError(f"{inputs}: {missing}")
    if missing:
        console.err.print(f"{inputs}: {missing}", markup=False)


def _missing(failed: Mapping[str, str], count: int, left_out: Sequence[LeftOut]) -> str:
    """What has no results, in one sentence; nothing where all has."""
    parts = []
    if failed:
        key, reason = next(iter(failed.items()))
        parts.append(f"{len(failed)} of {count} images failed; the first, {key}: {reason}")
    if left_out:
        parts.append(told(left_out, "image"))
    return "; ".join(parts)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr where somebody watches; call what it gives with images done and all of them."""
    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console.err, transient=True, disable=not console.err.is_terminal) as progress:
        bar = progress.add_task("images", total=None)
        yield lambda done, of: progress.update(bar, completed=done, total=of)
