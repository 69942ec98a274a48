"""`hyperseg-trt bench`: how long a bundle takes, beside its rivals and the machine's limits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hyperseg_runtime import console
from hyperseg_runtime.cli import options
from hyperseg_runtime.errors import EnvironmentMissingError, InputError
from hyperseg_runtime.files.writing import output_folder


def bench(
    bundles: Annotated[
        list[Path] | None, typer.Argument(metavar="BUNDLE...", help="Bundles to measure side by side.")
    ] = None,
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            help="first, next, classes, next-classes, frame, chat or batch (repeatable); default: all that fit."
        ),
    ] = None,
    backend: Annotated[
        list[str] | None, typer.Option(help="A backend (repeatable); default: all, those that are absent say so.")
    ] = None,
    rival: Annotated[
        list[str] | None,
        typer.Option(help="torch-eager or torch-compile (repeatable); default: both; need --checkpoint."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="What the first BUNDLE was exported from, for rivals.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Samples of each scenario.")] = 20,
    warm_up: Annotated[int, typer.Option(min=0, help="Rounds before them that are not counted.")] = 3,
    image: Annotated[
        list[Path] | None, typer.Option(help="Images to ask about in turn (repeatable); default: two made scenes.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of results; default: BUNDLE's name and -bench.")] = None,
    quality: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="Folders of eval for the page (repeatable), before and after."),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="A B", help="Instead: two runs' folders, row by row.")
    ] = None,
    summarise: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Instead: summary and page of a run that was killed.")
    ] = None,
    threads: options.ThreadsOption = None,
    native: options.NativeOption = False,
    low_memory: options.LowMemoryOption = False,
    bf16: options.Bf16Option = False,
    verify_hashes: options.VerifyHashesOption = False,
    accept_unmeasured: options.UnmeasuredOption = False,
    engines: options.EnginesOption = None,
    weights_gb: options.WeightsOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Time what BUNDLEs answer, per graph and end to end: samples.jsonl as it is measured, summary.json, report.html.

    Subjects take turns in one process; a fixed probe between the rounds tells whether something else ran.
    """
    from hyperseg_bench.latency import run, run_files, run_page, scenarios, subjects, two_runs
    from hyperseg_runtime.files.hashing import hash_file, remembered_hash
    from hyperseg_runtime.images.reading import load_image

    if compare is not None:
        _show_comparison(two_runs.compare(*compare), as_json)
        return
    if summarise is not None:
        _show(summarise, run_files.write_summary(summarise), run_page.write_page(summarise, quality or []), as_json)
        return
    if not bundles:
        raise InputError("which BUNDLE? make one with: hyperseg-trt export CHECKPOINT BUNDLE")
    asked = scenarios.chosen(scenario or [])
    chosen = options.backend_options(threads, native, accept_unmeasured, engines, weights_gb, low_memory, bf16)
    hash_of = hash_file if verify_hashes else remembered_hash
    opened = [subjects.verified(path, hash_of) for path in bundles]
    experiment = run.Experiment(
        subjects.subjects(opened, backend or [], rival or []),
        asked,
        subjects.Choice(checkpoint, chosen),
        rounds,
        warm_up,
        [load_image(path) for path in image] if image else run.made_pictures(),
    )
    place = out or Path(f"{bundles[0].resolve().name}-bench")
    with output_folder(place), _progress() as tell:
        run_files.write_schema(place)
        run.run(experiment, place / run_files.SAMPLES, tell)
        content = run_files.write_summary(place)
        page = run_page.write_page(place, quality or [])
    _show(place, content, page, as_json)
    if not content["rows"]:
        reasons = "; ".join(f"{absent['subject']}: {absent['reason']}" for absent in content["absent"])
        raise EnvironmentMissingError(f"nothing could be measured: {reasons}")


def _show(place: Path, content: dict[str, Any], page: Path, as_json: bool) -> None:
    if as_json:
        console.print_json({**content, "files": {"folder": str(place), "report": str(page)}})
        return
    from hyperseg_bench.latency.run_tables import print_summary

    print_summary(content)
    console.out.print(f"samples  {place / 'samples.jsonl'}\nsummary  {place / 'summary.json'}", markup=False)
    console.out.print(f"report   {page}", markup=False)


def _show_comparison(content: dict[str, Any], as_json: bool) -> None:
    if as_json:
        console.print_json(content)
        return
    from hyperseg_bench.latency.run_tables import print_comparison

    print_comparison(content)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each scenario on stderr where somebody watches, a line at its end where nobody does."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console.err, transient=True, disable=not console.err.is_terminal) as progress:
        tasks: dict[str, Any] = {}

        def tell(name: str, done: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=of)
            progress.update(tasks[name], completed=done)
            if done == of and not console.err.is_terminal:
                console.err.print(f"{name}: {of} rounds", markup=False)

        yield tell
