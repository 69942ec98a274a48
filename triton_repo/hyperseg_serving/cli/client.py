"""Verbs that ask a server."""

import io
import secrets
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from hyperseg_runtime import console
from hyperseg_runtime.contracts.results import Instances, PanopticMap, Result, SemanticMap, encode_png
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.files import output_folder, write_atomically

if TYPE_CHECKING:
    from hyperseg_runtime.images.frames import Frame
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
OutOption = Annotated[Path, typer.Option(help="Folder for PNG and overlay files.")]


@app.command()
def segment(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Image file, or - for stdin.")],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="What to segment.")],
    classes: Annotated[bool, typer.Option("--classes", help="TEXTs are a list of class names.")] = False,
    task: TaskOption = None,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Leave out instances of classes with less.")] = 0.0,
    output: FormatOption = Format.COCO,
    out: OutOption = Path(),
    url: UrlOption = DEFAULT_URL,
    timeout_s: TimeoutOption = 60.0,
) -> None:
    """Masks of what the TEXTs name in IMAGE."""
    from hyperseg_runtime.images.reading import load_image, read_header
    from hyperseg_serving.contract import Options

    data = _read(image)
    with _client(url, timeout_s) as client:
        chosen = Options(task=task, min_score=min_score)
        results = [client.segment_classes(data, texts, chosen)] if classes else client.segment(data, texts, chosen)
    if output is Format.COCO:
        console.print_json({"results": [result.to_json() for result in results]})
        return
    with read_header(io.BytesIO(data)) as picture:  # the server has its own limits, and has read it
        pixels = load_image(picture)
    _write(results, pixels, output, out, "stdin" if image == STDIN else Path(image).stem)


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
    image = _read(words[0]) if len(words) == 2 else None
    with _client(url, timeout_s) as client:
        for piece in as_shown(client.ask(image, words[-1], Options(max_tokens=max_tokens))):
            console.out.print(piece, end="", markup=False)
    console.out.print()


@app.command()
def video(
    frames: Annotated[Path, typer.Argument(metavar="FRAMES", help="Folder of images, or a video file.")],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="What to segment in every frame.")],
    task: TaskOption = None,
    output: FormatOption = Format.COCO,
    out: OutOption = Path(),
    url: UrlOption = GRPC_URL,
    timeout_s: TimeoutOption = 60.0,
) -> None:
    """Masks in each of FRAMES, seen with the memory of the frames before it; needs grpc."""
    from hyperseg_runtime.images.frames import read_frames
    from hyperseg_serving.contract import Options

    content = []
    with _client(url, timeout_s) as client:
        session = client.open_video(secrets.token_hex(8))
        waiting: deque[Frame] = deque()  # frames whose results are not ready
        for frame, is_last in _with_last(read_frames(frames)):
            waiting.append(frame)
            for ready in session.push(frame.pixels_hwc_u8, texts, is_last, Options(task=task)):
                done = waiting.popleft()
                if output is not Format.COCO:
                    _write(ready.results, done.pixels_hwc_u8, output, out, done.name)
                content.append({"frame": done.name, "results": [result.to_json() for result in ready.results]})
    if output is Format.COCO:
        console.print_json({"frames": content})


@app.command()
def health(url: UrlOption = DEFAULT_URL, timeout_s: TimeoutOption = 10.0) -> None:
    """Whether the server at an http address answers a canary request; what probes should call.

    A server whose model process has ended still calls itself ready.
    """
    from hyperseg_serving.client.canary import ask_canary

    if not url.startswith("http://"):
        raise InputError("health takes an http:// address")
    answered_ms = ask_canary(url, timeout_s)
    console.out.print(f"healthy: a mask after {answered_ms:.0f} ms", markup=False)


def _client(url: str, timeout_s: float) -> "Client":
    from hyperseg_serving.client.client import Client

    return Client(url, timeout_s)


def _read(image: str) -> bytes:
    from hyperseg_serving.client.client import encoded

    return sys.stdin.buffer.read() if image == STDIN else encoded(image)


def _with_last(frames: "Iterator[Frame]") -> "Iterator[tuple[Frame, bool]]":
    """Each frame, and whether it is the last."""
    held = next(frames)
    for frame in frames:
        yield held, False
        held = frame
    yield held, True


def _write(results: Sequence[Result], pixels: np.ndarray, output: Format, out: Path, stem: str) -> None:
    """A numbered file for every mask, and a line for each that says what it is of."""
    from hyperseg_runtime.reports.overlay import draw_overlay

    with output_folder(out):
        masks = [labelled for result in results for labelled in _labelled_masks(result)]
        for number, (label, mask) in enumerate(masks, 1):
            path = out / f"{stem}.{number}.{'mask' if output is Format.PNG else 'overlay'}.png"
            write_atomically(path, encode_png(mask if output is Format.PNG else draw_overlay(pixels, mask)))
            console.out.print(f"{path}  {label}", markup=False)


def _labelled_masks(result: Result) -> Iterator[tuple[str, np.ndarray]]:
    """Every mask of a result and what it is of."""
    match result:
        case Instances(labels=labels, masks=masks):
            yield from zip(labels, masks, strict=True)
        case SemanticMap(asked=names, classes=classes):
            yield from ((name, classes == index) for index, name in enumerate(names) if (classes == index).any())
        case PanopticMap(asked=names, ids=ids, segments=segments):
            yield from ((names[segment.class_index], ids == segment.id) for segment in segments)
