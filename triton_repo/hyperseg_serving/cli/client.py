"""Verbs that ask a server."""

import hashlib
import io
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from hyperseg_runtime import console
from hyperseg_runtime.cli.asked import BoxOption, MaskOption, PointOption, ScribbleOption, regions_of
from hyperseg_runtime.cli.options import OverwriteOption, require_texts
from hyperseg_runtime.contracts.requests import Classes, Expressions, Regions
from hyperseg_runtime.contracts.results import Instances, PanopticMap, Result, SemanticMap, encode_png
from hyperseg_runtime.errors import InputError, PartialInputError, UnavailableError
from hyperseg_runtime.families.family import FrameResults
from hyperseg_runtime.files.results import Kind, ResultFolder, input_source, refuse_own_result, result_name
from hyperseg_runtime.files.writing import output_folder

if TYPE_CHECKING:
    from hyperseg_runtime.images.frames import Frame, LeftOut
    from hyperseg_serving.client.client import Client

app = typer.Typer(help="Ask a server that `serve up` started.", no_args_is_help=True)

STDIN = "-"
UrlOption = Annotated[str, typer.Option(help="http://HOST:PORT, grpc://HOST:PORT, or grpc+shm:// to share memory.")]
TimeoutOption = Annotated[float, typer.Option(help="Longest wait for a response, in seconds.")]
DEFAULT_URL = "http://127.0.0.1:8000"
GRPC_URL = "grpc://127.0.0.1:8001"


class Format(StrEnum):
    """What to write of a mask."""

    COCO = "coco"
    PNG = "png"
    OVERLAY = "overlay"


FormatOption = Annotated[Format, typer.Option("--format", help="JSON with COCO run lengths on stdout, or files.")]
TaskOption = Annotated[
    str | None, typer.Option(help="One of the tasks of the family that is served (see inspect); default: its first.")
]
ClassesFlag = Annotated[bool, typer.Option("--classes", help="TEXTs are a list of class names.")]
MinScoreOption = Annotated[
    float, typer.Option(min=0, max=1, help="Leave out instances and segments of classes with less.")
]
OutOption = Annotated[Path, typer.Option(help="Folder for PNG and overlay files.")]


@app.command()
def segment(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Image file, or - for stdin.")],
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="What to segment.")] = None,
    classes: ClassesFlag = False,
    box: BoxOption = None,
    point: PointOption = None,
    scribble: ScribbleOption = None,
    mask: MaskOption = None,
    task: TaskOption = None,
    min_score: MinScoreOption = 0.0,
    output: FormatOption = Format.COCO,
    out: OutOption = Path(),
    overwrite: OverwriteOption = False,
    url: UrlOption = DEFAULT_URL,
    timeout_s: TimeoutOption = 60.0,
) -> None:
    """Masks of what the TEXTs name in IMAGE, or of what is pointed at."""
    from hyperseg_runtime.images.reading import decode_image
    from hyperseg_serving.contract import Options

    asked = _asked(texts, classes, box, point, scribble, mask)
    data = _read(image)
    with _client(url, timeout_s) as client:
        chosen = Options(task=task, min_score=min_score)
        if isinstance(asked, Regions):
            results = client.segment_regions(data, asked, chosen)
        elif isinstance(asked, Classes):
            results = [client.segment_classes(data, asked.names, chosen)]
        else:
            results = client.segment(data, asked, chosen)
    if output is Format.COCO:
        console.print_json({"results": [result.to_json() for result in results]})
        return
    pixels = decode_image(io.BytesIO(data), image)  # the server has its own limits, and has read it
    name, source = _called(image, data)
    with output_folder(out):
        _write(results, pixels, output, ResultFolder(out, overwrite), name, source)


@app.command()
def ask(
    words: Annotated[list[str], typer.Argument(metavar="[IMAGE] QUESTION", help="Image file if any, and question.")],
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer in tokens.")] = None,
    url: UrlOption = DEFAULT_URL,
    timeout_s: TimeoutOption = 60.0,
) -> None:
    """Answer QUESTION; the answer appears as it is made."""
    from hyperseg_runtime.llm.answers import as_shown
    from hyperseg_serving.contract import Options

    if len(words) > 2:
        raise InputError("ask takes IMAGE and QUESTION; put a question of several words into quotes")
    require_texts(words[-1:])
    image = _read(words[0]) if len(words) == 2 else None
    with _client(url, timeout_s) as client:
        for piece in as_shown(client.ask(image, words[-1], Options(max_tokens=max_tokens))):
            console.out.print(piece, end="", markup=False)
    console.out.print()


@app.command()
def video(
    frames: Annotated[Path, typer.Argument(metavar="FRAMES", help="Folder of images, or a video file.")],
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="What to segment in every frame.")
    ] = None,
    classes: ClassesFlag = False,
    box: BoxOption = None,
    point: PointOption = None,
    scribble: ScribbleOption = None,
    mask: MaskOption = None,
    task: TaskOption = None,
    min_score: MinScoreOption = 0.0,
    output: FormatOption = Format.COCO,
    out: OutOption = Path(),
    overwrite: OverwriteOption = False,
    url: UrlOption = GRPC_URL,
    timeout_s: TimeoutOption = 60.0,
) -> None:
    """Masks in each of FRAMES of what the TEXTs name, of what was pointed at in the first one, or of objects of a list
    of classes, seen with the memory of the frames before it; needs grpc.

    Objects of a list keep their numbers through all frames, and FRAME.mask.png has them in 16 bits.
    Frames that cannot be read are left out and listed; the exit code is then 11. What ends a video early loses no frame
    before it: the JSON has them, with "complete": false.
    """
    from hyperseg_runtime.images.ahead import read_ahead
    from hyperseg_runtime.images.frames import open_frames, told
    from hyperseg_serving.contract import Options

    asked = _asked(texts, classes, box, point, scribble, mask)
    source = open_frames(frames)
    content: list[dict[str, Any]] = []
    with (
        _printed(content, source.left_out) if output is Format.COCO else nullcontext(),
        _client(url, timeout_s) as client,
        output_folder(out),
    ):
        session = client.open_video()
        waiting: deque[Frame] = deque()  # frames whose results are not ready
        seen = source.from_the_first() if isinstance(asked, Regions) else source
        for frame, is_last in _with_last(read_ahead(seen)):
            waiting.append(frame)
            found = session.push(frame.pixels_hwc_u8, asked, is_last, Options(task=task, min_score=min_score))
            asked = Regions() if isinstance(asked, Regions) else asked
            for ready in found:
                done = waiting.popleft()
                if output is not Format.COCO:
                    _write_frame(ready, done, asked, output, ResultFolder(out, overwrite))
                content.append({"frame": done.name, "results": [result.to_json() for result in ready.results]})
    if any(row.lost for row in source.left_out):
        raise PartialInputError(
            f"{frames}: {len(content)} frames are done, not all of the input: {told(source.left_out)}"
        )
    if source.left_out:
        console.err.print(f"{frames}: {told(source.left_out)}", markup=False)


@app.command()
def health(
    live: Annotated[
        bool, typer.Option("--live", help="Only whether the model's process answers, whatever is under way.")
    ] = False,
    ready: Annotated[
        bool, typer.Option("--ready", help="As --live, and that it takes requests: not while it is being stopped.")
    ] = False,
    every_path: Annotated[
        bool, typer.Option("--every-path", help="A mask also through ensemble and video, which wait behind requests.")
    ] = False,
    url: UrlOption = DEFAULT_URL,
    timeout_s: TimeoutOption = 10.0,
) -> None:
    """Whether the server at an http address makes a mask, next after what runs now; what probes should call.

    A server whose model process has ended still calls itself ready.
    """
    from hyperseg_serving.client.canary import ask_canary, ask_live

    if not url.startswith("http://"):
        raise InputError("health takes an http:// address")
    if live + ready + every_path > 1:
        raise InputError("choose one of --live, --ready and --every-path")
    if live or ready:
        state = ask_live(url, timeout_s)
        if ready and state["draining"]:
            raise UnavailableError("the server is being stopped and takes no requests")
        console.out.print(f"{'ready' if ready else 'live'}: {state['under_way']} requests under way", markup=False)
        return
    answered_ms = ask_canary(url, timeout_s, every_path)
    console.out.print(f"healthy: a mask after {answered_ms:.0f} ms", markup=False)


def _asked(
    texts: list[str] | None,
    classes: bool,
    box: list[str] | None,
    point: list[str] | None,
    scribble: list[Path] | None,
    mask: list[Path] | None,
) -> list[str] | Classes | Regions:
    """Texts, the same as a class list, or regions. Raises InputError for nothing, for both, and for what cannot be
    read.
    """
    regions = any((box, point, scribble, mask))
    if regions == bool(texts):
        found = "both" if texts else "nothing"
        raise InputError(f"expected texts or regions (--box, --point, --scribble, --mask), got {found}")
    if classes and regions:
        raise InputError("--classes takes the names of classes, not regions")
    if regions:
        return regions_of(None, box, point, scribble, mask, None)
    require_texts(texts or [])
    return Classes.of(texts or []) if classes else texts or []


def _client(url: str, timeout_s: float) -> "Client":
    from hyperseg_serving.client.client import Client

    return Client(url, timeout_s)


def _read(image: str) -> bytes:
    from hyperseg_serving.client.client import encoded

    if image == STDIN:
        return sys.stdin.buffer.read()
    refuse_own_result(Path(image))
    return encoded(image)


def _called(image: str, data: bytes) -> tuple[str, str]:
    """How results are called, and what tells the input from others: of stdin that is what came through it."""
    if image == STDIN:
        return "stdin", f"{STDIN} {hashlib.sha256(data).hexdigest()}"
    return Path(image).name, input_source(image)


@contextmanager
def _printed(content: Sequence[dict[str, Any]], left_out: "Sequence[LeftOut]") -> Iterator[None]:
    """The JSON of a video at its end; if something ends it early, of the frames that are done, if any."""
    complete = False
    try:
        yield
        complete = True
    finally:
        if content or complete:
            rows = [{"frame": row.name, "reason": row.reason, "lost": row.lost} for row in left_out]
            console.print_json({"frames": content, "left_out": rows, "complete": complete})


def _with_last(frames: "Iterator[Frame]") -> "Iterator[tuple[Frame, bool]]":
    """Each frame, and whether it is the last."""
    held = next(frames)
    for frame in frames:
        yield held, False
        held = frame
    yield held, True


def _write(
    results: Sequence[Result], pixels: np.ndarray, output: Format, folder: ResultFolder, name: str, source: str
) -> None:
    """A file for every mask, numbered if there are several, and a line for each that says what it is of."""
    from hyperseg_runtime.reports.overlay import draw_overlay

    kind = Kind.MASK if output is Format.PNG else Kind.OVERLAY
    masks = [labelled for result in results for labelled in _labelled_masks(result)]
    names = [result_name(name, kind, number if len(masks) > 1 else None) for number in range(1, len(masks) + 1)]
    folder.require_free(names, source)
    for file, (label, mask) in zip(names, masks, strict=True):
        drawn = mask if kind is Kind.MASK else draw_overlay(pixels, mask)
        path = folder.write(file, encode_png(drawn), source)
        console.out.print(f"{path}  {label}", markup=False)


def _write_frame(
    ready: FrameResults, frame: "Frame", asked: list[str] | Classes | Regions, output: Format, folder: ResultFolder
) -> None:
    """As the verb `video` does: a file for every text or region, of a class list one with the objects' numbers."""
    from hyperseg_runtime.reports.frame_pictures import frame_pictures

    found = [result for result in ready.results if isinstance(result, Instances)]
    kind = Kind.MASK if output is Format.PNG else Kind.OVERLAY
    pictures = frame_pictures(asked if isinstance(asked, Classes | Regions) else Expressions.of(asked))
    for _, number, drawn in pictures.files(frame.pixels_hwc_u8, found, [kind]):
        name = result_name(frame.name, kind, number)
        folder.require_free([name], frame.source)
        labels = ", ".join(found[(number or 1) - 1].labels)
        console.out.print(f"{folder.write(name, encode_png(drawn), frame.source)}  {labels}", markup=False)


def _labelled_masks(result: Result) -> Iterator[tuple[str, np.ndarray]]:
    """Every mask of a result and what it is of."""
    match result:
        case Instances(labels=labels, masks=masks):
            yield from zip(labels, masks, strict=True)
        case SemanticMap(asked=names, classes=classes):
            yield from ((name, classes == index) for index, name in enumerate(names) if (classes == index).any())
        case PanopticMap(asked=names, ids=ids, segments=segments):
            yield from ((names[segment.class_index], ids == segment.id) for segment in segments)
