"""`hyperseg-trt run`: masks of one image."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from hyperseg_kernels import cpu_ops
from hyperseg_runtime import console
from hyperseg_runtime.backends.by_name import EngineChoice, make_backend
from hyperseg_runtime.bundle.manifest import Manifest
from hyperseg_runtime.cli import options
from hyperseg_runtime.contracts.results import SegmentationResult, encode_png
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.files import output_folder, write_atomically
from hyperseg_runtime.images.reading import load_image


def run(
    bundle: options.BundleArgument,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file of any common format.")],
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="What to segment, such as 'the man on the left'.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path(),
    task: Annotated[str | None, typer.Option(help="referring (default) or reasoning: which prompt to use.")] = None,
    name_first: Annotated[
        bool,
        typer.Option(
            "--name-first",
            help="TEXT asks for names ('Name the animals.'), and what the model names is segmented: the paper's "
            "hybrid entity recognition. The released checkpoint was not trained for it.",
        ),
    ] = False,
    threads: options.ThreadsOption = None,
    native: Annotated[
        bool,
        typer.Option("--native", help="Our C++ kernel for deformable attention: quicker; needs g++ or clang++ once."),
    ] = False,
    backend: options.BackendOption = "onnxruntime",
    accept_unmeasured: options.UnmeasuredOption = False,
    plugin: options.PluginOption = None,
    engines: options.EnginesOption = None,
    weights_gb: options.WeightsOption = None,
    report: Annotated[bool, typer.Option("--report", help="Also write an HTML page of each result.")] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Segment what TEXT names in IMAGE: writes mask and overlay as PNG and the result as JSON.

    Several TEXTs share the work on the image; their files are numbered.
    """
    if name_first and (task or len(texts) > 1):
        raise InputError("--name-first takes one TEXT and no --task")
    pixels = load_image(image)
    with output_folder(out):
        libraries = cpu_ops.libraries_if_possible() if native else ()
        choice = replace(EngineChoice.asked(accept_unmeasured, plugin, engines, weights_gb), overlap=False)
        engine_library = partial(make_backend, backend, bundle, threads, libraries, choice)
        with options.opened_pipeline(bundle, engine_library) as pipeline, pipeline.open(pixels) as session:
            results = session.name_then_segment(texts[0]) if name_first else session.segment_many(texts, task)
            manifest = pipeline.bundle.manifest if report else None
        stems = [f"{image.stem}.{number}" for number in range(1, len(results) + 1)]
        stems = stems if len(results) > 1 else [image.stem]
        files = [_write(r, out / stem, pixels, manifest) for r, stem in zip(results, stems, strict=True)]
    if as_json:
        contents = [{**r.to_json(), "files": written} for r, written in zip(results, files, strict=True)]
        console.print_json(contents[0] if len(contents) == 1 else {"results": contents})
        return
    for result, written in zip(results, files, strict=True):
        _print_result(result, written)
    console.print_rows("Time per stage", ("stage", ">ms"), [(n, f"{ms:.1f}") for n, ms in result.timings_ms.items()])


def _write(result: SegmentationResult, stem: Path, pixels: np.ndarray, manifest: Manifest | None) -> dict[str, str]:
    """Files named after `stem`, by kind; a report page too if the manifest is given."""
    from hyperseg_runtime.reports.html import render_report
    from hyperseg_runtime.reports.overlay import draw_overlay

    overlay = encode_png(draw_overlay(pixels, result.mask))
    files = {
        "mask": (".mask.png", encode_png(result.mask)),
        "overlay": (".overlay.png", overlay),
        "json": (".json", console.json_bytes(result.to_json())),
    }
    if manifest:
        files["report"] = (".report.html", render_report(result, overlay, manifest))
    for ending, data in files.values():
        write_atomically(Path(f"{stem}{ending}"), data)
    return {kind: f"{stem}{ending}" for kind, (ending, _) in files.items()}


def _print_result(result: SegmentationResult, written: dict[str, str]) -> None:
    x0, y0, x1, y1 = (int(edge) for edge in result.boxes_xyxy[0])
    console.out.print(result.text, markup=False)
    for kind, path in written.items():
        console.out.print(f"{kind:8} {path}", markup=False)
    console.out.print(
        f"score {result.score:.4f}, {int(result.mask.sum())} px, box x {x0}..{x1}, y {y0}..{y1}; "
        f"{result.evaluated} mask queries brought to full size"
    )
