"""`hyperseg-trt run`: masks of one image."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from hyperseg_runtime import console
from hyperseg_runtime.calls.tracing import traced
from hyperseg_runtime.cli import options
from hyperseg_runtime.cli.app import COMMAND
from hyperseg_runtime.cli.asked import (
    BoxOption,
    ClassesOption,
    MaskOption,
    PointOption,
    ScribbleOption,
    SeedOption,
    asked_of,
)
from hyperseg_runtime.contracts.requests import Regions
from hyperseg_runtime.contracts.results import Instances, PanopticMap, Result, SemanticMap
from hyperseg_runtime.files.results import Kind, ResultFolder, input_source, refuse_own_result, result_name
from hyperseg_runtime.files.writing import output_folder
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.images.regions import region_masks
from hyperseg_runtime.llm.tokenizer import require_text

FEW = 8
"""So many names are written out."""


def run(
    bundle: options.BundleArgument,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file of any common format.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help="What to segment, such as 'the man on the left'."),
    ] = None,
    classes: ClassesOption = None,
    box: BoxOption = None,
    point: PointOption = None,
    scribble: ScribbleOption = None,
    mask: MaskOption = None,
    region_seed: SeedOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path(),
    task: Annotated[
        str | None, typer.Option(help="One of the family's tasks for what is asked (see inspect); default: its first.")
    ] = None,
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out instances and segments with a lower score.")
    ] = 0.0,
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
    report: Annotated[bool, typer.Option("--report", help="Also write an HTML page of each result.")] = False,
    trace: options.TraceOption = None,
    overwrite: options.OverwriteOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Segment what TEXT names in IMAGE, every class of a list, or what was pointed at: PNG of mask and overlay, JSON.

    Files are called after the whole name of IMAGE. Several TEXTs or regions share the work on the image; their files
    are numbered. Times per stage are those of its graph; with --trace stages overlap as they do in a server.
    """
    from hyperseg_runtime.reports.result_files import PageFacts, contents_of

    options.require_texts(texts or [])
    for text in texts or []:  # before the first of them takes its time
        require_text(text)
    asked = asked_of(texts or [], task, classes, box, point, scribble, mask, region_seed)
    refuse_own_result(image)
    pixels = load_image(image)
    if isinstance(asked.request, Regions):
        region_masks(asked.request, pixels.shape[:2])  # refuses those outside the image before the bundle is read
    folder, source = ResultFolder(out, overwrite), input_source(image)
    kinds = [*options.kinds_of(also), *([Kind.REPORT] if report else [])]
    several = asked.results is not None and asked.results > 1
    numbers = range(1, (asked.results or 1) + 1) if several else (None,)
    names = [{kind: result_name(image.name, kind, number) for kind in kinds} for number in numbers]
    with output_folder(out):
        folder.require_free((name for of_one in names for name in of_one.values()), source)
        chosen = options.backend_options(
            threads, native, accept_unmeasured, engines, weights_gb, low_memory, bf16, verify_hashes
        )
        with (
            options.opened_pipeline(bundle, backend, timed_stages=trace is None, **chosen) as pipeline,
            traced(trace, overwrite),
            pipeline.open(pixels) as session,
        ):
            pipeline.family.require_scores(pipeline.family.with_task(asked.request), min_score)
            found = [result for request in asked.timed_apart for result in session.run(request)]
            results = [one.at_least(min_score) for one in found]
            page = PageFacts(pipeline.bundle.manifest, (COMMAND, *sys.argv[1:]))
            files = []
            for result, of_one in zip(results, names, strict=True):
                contents = contents_of(result, image.name, pixels, of_one, asked.ids, page)
                files.append({kind.key: str(folder.write(of_one[kind], contents[kind], source)) for kind in of_one})
    if as_json:
        shown = [{**r.to_json(), "files": written} for r, written in zip(results, files, strict=True)]
        console.print_json(shown[0] if len(shown) == 1 else {"results": shown})
        return
    for result, written in zip(results, files, strict=True):
        _print_result(result, written)
    _print_times([result.timings_ms for result in results[: len(asked.timed_apart)]])


def _print_times(times_ms: Sequence[Mapping[str, float]]) -> None:
    """A column for each call; what the first one did for the image stays empty in the others."""
    stages = dict.fromkeys(stage for one in times_ms for stage in one)
    columns = [f">{number} ms" for number in range(1, len(times_ms) + 1)] if len(times_ms) > 1 else [">ms"]
    rows = [(stage, *(f"{one[stage]:.1f}" if stage in one else "" for one in times_ms)) for stage in stages]
    console.print_rows("Time per stage", ("stage", *columns), rows)


def _print_result(result: Result, written: dict[str, str]) -> None:
    console.out.print(_title(result), markup=False)
    for kind, path in written.items():
        console.out.print(f"{kind:8} {path}", markup=False)
    for line in _lines(result):
        console.out.print(line, markup=False)
    facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result.details.items())
    if facts:
        console.out.print(facts, markup=False)


def _title(result: Result) -> str:
    return ", ".join(result.asked) if len(result.asked) <= FEW else f"{len(result.asked)} classes"


def _lines(result: Result) -> Iterable[str]:
    """One for each mask and each of its parts."""
    match result:
        case Instances():
            rows = zip(result.labels, result.scores, result.masks, result.boxes_xyxy, strict=True)
            for row, (label, score, mask, box) in enumerate(rows):
                x0, y0, x1, y1 = (int(edge) for edge in box)
                named = "" if (label,) == result.asked else f"{label}: "
                yield f"{named}score {score:.4f}, {int(mask.sum())} px, box x {x0}..{x1}, y {y0}..{y1}"
                yield from (f"  {name}: {int(part.sum())} px" for name, part in result.parts(row))
        case SemanticMap():
            for index, name in enumerate(result.asked):
                if area := int((result.classes == index).sum()):
                    yield f"{name}: {area} px"
        case PanopticMap():
            for segment in result.segments:
                kind = "thing" if segment.is_thing else "stuff"
                area = int((result.ids == segment.id).sum())
                yield f"{result.asked[segment.class_index]}: {kind}, score {segment.score:.4f}, {area} px"
