"""Verbs that need only a bundle: `run`, `chat` and `inspect`. The exporter's command line adds its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from hyperseg_kernels import cpu_ops
from hyperseg_runtime import console
from hyperseg_runtime.answers import Finish
from hyperseg_runtime.backends.by_name import make_backend
from hyperseg_runtime.bundle import Bundle, read_manifest
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.files import output_folder, write_atomically
from hyperseg_runtime.image_io import load_image
from hyperseg_runtime.manifest import Manifest
from hyperseg_runtime.manifest_tables import print_manifest
from hyperseg_runtime.results import SegmentationResult, encode_png
from hyperseg_runtime.serving import client_verb, serve_verb

if TYPE_CHECKING:
    from hyperseg_runtime.backends.base import Backend
    from hyperseg_runtime.pipeline import Pipeline

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder written by export.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
BackendOption = Annotated[
    str, typer.Option("--backend", help="onnxruntime (CPU), or tensorrt: engines made by build for this GPU.")
]
UnmeasuredOption = Annotated[
    bool, typer.Option("--accept-unmeasured", help="Also run engines that were never compared with their graphs.")
]

EXIT_CODES = """Exit codes: 0 done; 1 unexpected error; 2 unusable input (arguments, image, text, checkpoint);
3 a package or device is missing; 4 export failed; 5 results differ too much or are not
numbers; 6 bundle damaged or incompatible; 7 disk or memory ran out; 8 an engine is not what
was planned; 9 a server failed at a request; 10 a server cannot be reached or has no room;
130 interrupted."""

app = typer.Typer(
    name="hyperseg-trt",
    help="Turn a HyperSeg checkpoint into verified ONNX graphs and masks.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(serve_verb.app, name="serve")
app.add_typer(client_verb.app, name="client")


@app.command()
def run(
    bundle: BundleArgument,
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
    threads: ThreadsOption = None,
    native: Annotated[
        bool,
        typer.Option("--native", help="Our C++ kernel for deformable attention: quicker; needs g++ or clang++ once."),
    ] = False,
    backend: BackendOption = "onnxruntime",
    accept_unmeasured: UnmeasuredOption = False,
    report: Annotated[bool, typer.Option("--report", help="Also write an HTML page of each result.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Segment what TEXT names in IMAGE: writes mask and overlay as PNG and the result as JSON.

    Several TEXTs share the work on the image; their files are numbered.
    """
    if name_first and (task or len(texts) > 1):
        raise InputError("--name-first takes one TEXT and no --task")
    pixels = load_image(image)
    with output_folder(out):
        libraries = cpu_ops.libraries_if_possible() if native else ()
        engine_library = partial(make_backend, backend, bundle, threads, libraries, accept_unmeasured)
        with opened_pipeline(bundle, engine_library) as pipeline, pipeline.open(pixels) as session:
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


@app.command()
def chat(
    bundle: BundleArgument,
    words: Annotated[
        list[str], typer.Argument(metavar="[IMAGE] QUESTION", help="Image file, if any, and the question about it.")
    ],
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer in tokens; default 128, less where the context ends.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 (default) always takes the likeliest token.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens with this much probability.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Same seed, same answer.")] = None,
    threads: ThreadsOption = None,
    backend: BackendOption = "onnxruntime",
    accept_unmeasured: UnmeasuredOption = False,
    as_json: JsonOption = False,
) -> None:
    """Answer QUESTION about IMAGE, or without one; the answer appears as it is made."""
    from hyperseg_runtime.sampling import Sampling

    if len(words) > 2:
        raise InputError("chat takes IMAGE and QUESTION; put a question of several words into quotes")
    image, question = (Path(words[0]) if len(words) == 2 else None), words[-1]
    if image is None and Path(question).is_file():
        raise InputError(f"{question} is a file: what is the question about it?")
    sampling = Sampling(temperature, top_p, seed)
    pixels = None if image is None else load_image(image)
    engine_library = partial(make_backend, backend, bundle, threads, accept_unmeasured=accept_unmeasured)
    with opened_pipeline(bundle, engine_library) as pipeline, pipeline.open(pixels) as session:
        answer = session.ask(question, sampling, max_tokens)
        started = False
        for piece in answer:
            shown = piece if started else piece.lstrip()
            started = started or bool(shown)
            if not as_json:
                console.out.print(shown, end="", markup=False)
    if as_json:
        console.print_json({"text": answer.text, "finish": answer.finish, "tokens": len(answer.token_ids)})
        return
    console.out.print()
    if answer.finish is Finish.LENGTH:
        console.err.print(
            f"(stopped after {len(answer.token_ids)} tokens; --max-tokens allows more, as far as the context reaches)"
        )


@contextmanager
def opened_pipeline(directory: Path, engine_library: Callable[[], "Backend"]) -> Iterator["Pipeline"]:
    from hyperseg_runtime.pipeline import Pipeline

    size_bytes = read_manifest(directory).size_bytes
    with (
        engine_library() as backend,
        console.byte_progress("checking the bundle", size_bytes) as on_bytes,
        Pipeline.load(directory, backend, on_bytes) as pipeline,
    ):
        yield pipeline


def _write(result: SegmentationResult, stem: Path, pixels: np.ndarray, manifest: Manifest | None) -> dict[str, str]:
    """Files named after `stem`, by kind; a report page too if the manifest is given."""
    from hyperseg_runtime.overlay import draw_overlay
    from hyperseg_runtime.report import render_report

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


@app.command()
def inspect(bundle: BundleArgument, as_json: JsonOption = False) -> None:
    """Verify a bundle's files and show what it holds."""
    with console.byte_progress("checking the bundle", read_manifest(bundle).size_bytes) as on_bytes:
        manifest = Bundle.open(bundle, on_bytes).manifest
    if as_json:
        console.print_json(manifest.model_dump(mode="json"))
    else:
        print_manifest(manifest)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Show what this machine has of what the verbs need, and how to get the rest."""
    from dataclasses import asdict

    from hyperseg_runtime.doctor import examine

    findings = examine(Path.cwd())
    if as_json:
        console.print_json({"findings": [asdict(finding) for finding in findings]})
        return
    console.print_rows(
        "This machine",
        ("part", "state", "found", "needed for"),
        [(f.part, "ok" if f.works else "missing", f.found, f.needed_for) for f in findings],
    )
    for finding in findings:
        if finding.advice:
            console.out.print(f"{finding.part}: {finding.advice}", markup=False)


def _print_result(result: SegmentationResult, written: dict[str, str]) -> None:
    x0, y0, x1, y1 = (int(edge) for edge in result.boxes_xyxy[0])
    console.out.print(result.text, markup=False)
    for kind, path in written.items():
        console.out.print(f"{kind:8} {path}", markup=False)
    console.out.print(
        f"score {result.score:.4f}, {int(result.mask.sum())} px, box x {x0}..{x1}, y {y0}..{y1}; "
        f"{result.evaluated} mask queries brought to full size"
    )
