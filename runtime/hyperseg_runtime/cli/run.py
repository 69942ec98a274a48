"""`hyperseg-trt run`: masks of one image."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from hyperseg_runtime import console
from hyperseg_runtime.bundle.manifest import Manifest
from hyperseg_runtime.calls.tracing import traced
from hyperseg_runtime.cli import options
from hyperseg_runtime.cli.app import COMMAND
from hyperseg_runtime.contracts.results import Instances, encode_png
from hyperseg_runtime.files.results import Kind, ResultFolder, input_source, refuse_own_result, result_name
from hyperseg_runtime.files.writing import output_folder
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.llm.tokenizer import require_text


def run(
    bundle: options.BundleArgument,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file of any common format.")],
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="What to segment, such as 'the man on the left'.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path(),
    task: Annotated[
        str | None, typer.Option(help="One of the family's tasks for expressions (see inspect); default: its first.")
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
    report: Annotated[bool, typer.Option("--report", help="Also write an HTML page of each result.")] = False,
    trace: options.TraceOption = None,
    overwrite: options.OverwriteOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Segment what TEXT names in IMAGE: writes mask and overlay as PNG and the result as JSON.

    Files are called after the whole name of IMAGE. Several TEXTs share the work on the image; their files are numbered.
    Times per stage are those of its graph; with --trace stages overlap as they do in a server.
    """
    options.require_texts(texts)
    for text in texts:  # before the first of them takes its time
        require_text(text)
    refuse_own_result(image)
    pixels = load_image(image)
    folder, source = ResultFolder(out, overwrite), input_source(image)
    kinds = [kind for kind in Kind if report or kind is not Kind.REPORT]
    numbers = range(1, len(texts) + 1) if len(texts) > 1 else (None,)
    names = [{kind: result_name(image.name, kind, number) for kind in kinds} for number in numbers]
    with output_folder(out):
        folder.require_free((name for of_text in names for name in of_text.values()), source)
        others = {"low_memory": low_memory, "bf16": bf16, "verify_hashes": verify_hashes}
        chosen = options.backend_options(threads, native, accept_unmeasured, engines, weights_gb, **others)
        with (
            options.opened_pipeline(bundle, backend, timed_stages=trace is None, **chosen) as pipeline,
            traced(trace),
            pipeline.open(pixels) as session,
        ):
            results = [session.segment(text, task) for text in texts]  # each with times of its own
            manifest = pipeline.bundle.manifest
        files = []
        for result, of_text in zip(results, names, strict=True):
            contents = _contents(result, pixels, manifest, of_text)
            files.append({kind.key: str(folder.write(of_text[kind], contents[kind], source)) for kind in of_text})
    if as_json:
        shown = [{**r.to_json(), "files": written} for r, written in zip(results, files, strict=True)]
        console.print_json(shown[0] if len(shown) == 1 else {"results": shown})
        return
    for result, written in zip(results, files, strict=True):
        _print_result(result, written)
    _print_times([result.timings_ms for result in results])


def _contents(result: Instances, pixels: np.ndarray, manifest: Manifest, kinds: Iterable[Kind]) -> dict[Kind, bytes]:
    """What the files of these kinds hold."""
    from hyperseg_runtime.reports.overlay import draw_overlay

    overlay = encode_png(draw_overlay(pixels, result.mask))
    contents = {
        Kind.MASK: encode_png(result.mask),
        Kind.OVERLAY: overlay,
        Kind.RESULT: console.json_bytes(result.to_json()),
    }
    if Kind.REPORT in kinds:  # drawing charts takes a second to load, and a place that can be written to
        from hyperseg_runtime.reports.html import render_report

        contents[Kind.REPORT] = render_report(result, overlay, manifest, [COMMAND, *sys.argv[1:]])
    return contents


def _print_times(times_ms: Sequence[Mapping[str, float]]) -> None:
    """A column for each expression; what the first one did for the image stays empty in the others."""
    stages = dict.fromkeys(stage for one in times_ms for stage in one)
    columns = [f">{number} ms" for number in range(1, len(times_ms) + 1)] if len(times_ms) > 1 else [">ms"]
    rows = [(stage, *(f"{one[stage]:.1f}" if stage in one else "" for one in times_ms)) for stage in stages]
    console.print_rows("Time per stage", ("stage", *columns), rows)


def _print_result(result: Instances, written: dict[str, str]) -> None:
    console.out.print(", ".join(result.asked), markup=False)
    for kind, path in written.items():
        console.out.print(f"{kind:8} {path}", markup=False)
    for label, score, mask, box in zip(result.labels, result.scores, result.masks, result.boxes_xyxy, strict=True):
        x0, y0, x1, y1 = (int(edge) for edge in box)
        named = "" if (label,) == result.asked else f"{label}: "
        console.out.print(
            f"{named}score {score:.4f}, {int(mask.sum())} px, box x {x0}..{x1}, y {y0}..{y1}", markup=False
        )
    facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result.details.items())
    if facts:
        console.out.print(facts, markup=False)
