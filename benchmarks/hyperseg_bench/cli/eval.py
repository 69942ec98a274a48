"""`hyperseg-trt eval`: how right a bundle is on a data set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hyperseg_runtime import console
from hyperseg_runtime.cli import options
from hyperseg_runtime.cli.workers import RayOption, WorkersOption, worker_of
from hyperseg_runtime.files.locking import sole_writer
from hyperseg_runtime.files.writing import output_folder


def evaluate(
    bundle: options.BundleArgument,
    data_set: Annotated[str, typer.Argument(metavar="DATASET", help="Name of a data set, such as shapes or refcoco.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data set's files, in their published layout.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Part of it, such as val or testA; default: the usual one.")] = None,
    items: Annotated[int | None, typer.Option(min=1, help="So many samples from the start; default: all.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of results; default: BUNDLE's name and DATASET.")] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Results of an earlier eval, to compare with item by item.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16, bf16 or mixed: refuse a bundle whose graphs are in another one.")
    ] = None,
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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew, whatever evaluation lies there.")] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Ask BUNDLE everything that DATASET knows the answer to: table.json, report.html, and every item in items.jsonl.

    A killed evaluation goes on where it stopped when called again with the same settings, and gives the same table.
    """
    from hyperseg_bench.quality import evaluation, results
    from hyperseg_bench.quality.datasets.registry import Choice
    from hyperseg_runtime.batch.subject import Subject

    choice = Choice(data_set, None if data is None else str(data.resolve()), split, items)
    place = out or Path(f"{bundle.resolve().name}-{data_set}")
    chosen = options.backend_options(
        threads, native, accept_unmeasured, engines, weights_gb, low_memory, bf16, verify_hashes
    )
    subject = Subject(bundle, backend, chosen)
    work = worker_of(ray, workers)
    with output_folder(place), sole_writer(place):
        with _progress() as tell:
            content = evaluation.evaluate(subject, choice, place, precision, overwrite, work, tell)
        files = results.write_report(place, choice)
        if against is not None:
            content, more = results.write_comparison(place, against, choice)
            files |= more
    if as_json:
        console.print_json({**content, "files": {name: str(path) for name, path in files.items()}})
        return
    _print_numbers("Metrics", content["table"])
    for reason, count in content["left_out"].items():
        console.out.print(f"not asked  {count} {reason}", markup=False)
    if against is not None:
        _print_numbers(f"Against {against}", content["comparison"])
    for name, path in files.items():
        console.out.print(f"{name:10} {path}", markup=False)


def _print_numbers(title: str, found: dict[str, dict[str, float]]) -> None:
    """A table of rows of metrics; those that a row does not have stay empty."""
    names = list(dict.fromkeys(metric for numbers in found.values() for metric in numbers))
    rows = [(kind, *(f"{row[n]:.4g}" if n in row else "" for n in names)) for kind, row in found.items()]
    console.print_rows(title, ("", *(f">{name.replace('_', ' ')}" for name in names)), rows)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr where somebody watches; call what it gives with samples done and all of them."""
    columns = (TextColumn("samples"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console.err, transient=True, disable=not console.err.is_terminal) as progress:
        task = progress.add_task("samples", total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)
