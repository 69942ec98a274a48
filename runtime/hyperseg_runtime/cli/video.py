"""`hyperseg-trt video`: masks for the frames of a video."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from hyperseg_runtime import console
from hyperseg_runtime.cli import options
from hyperseg_runtime.contracts.requests import Expressions
from hyperseg_runtime.contracts.results import Instances, Result, encode_png
from hyperseg_runtime.files import output_folder, write_atomically
from hyperseg_runtime.images.frames import Frame, frame_count, read_frames

RESULTS = "video.json"


def video(
    bundle: options.BundleArgument,
    frames: Annotated[Path, typer.Argument(metavar="FRAMES", help="Folder of images, or a video file.")],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="What to segment in every frame.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path(),
    overlay: Annotated[bool, typer.Option("--overlay", help="Also draw each mask on its frame.")] = False,
    task: Annotated[str | None, typer.Option(help="One of the family's tasks for frames; default: its first.")] = None,
    threads: options.ThreadsOption = None,
    native: options.NativeOption = False,
    backend: options.BackendOption = "onnxruntime",
    accept_unmeasured: options.UnmeasuredOption = False,
    plugin: options.PluginOption = None,
    engines: options.EnginesOption = None,
    weights_gb: options.WeightsOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Segment what TEXT names in each of FRAMES, seen with the memory of the frames before it.

    Writes FRAME.mask.png as frames are done, numbered where there are several TEXTs, and at the end video.json.
    """
    count = frame_count(frames)
    chosen = options.backend_options(threads, native, accept_unmeasured, plugin, engines, weights_gb)
    content: list[dict[str, Any]] = []
    with (
        output_folder(out),
        options.opened_pipeline(bundle, backend, timed_stages=True, **chosen) as pipeline,
        _frame_progress(count) as advance,
    ):
        session = pipeline.open_video()
        waiting: deque[Frame] = deque()  # frames whose results are not ready
        for frame in read_frames(frames):
            waiting.append(frame)
            for ready in session.push(frame.pixels_hwc_u8, Expressions.of(texts, task)):
                content.append(_written(waiting.popleft(), ready.results, out, overlay))
                advance()
        for ready in session.finish():
            content.append(_written(waiting.popleft(), ready.results, out, overlay))
            advance()
        write_atomically(out / RESULTS, console.json_bytes({"frames": content}))
    if as_json:
        console.print_json({"frames": content})
        return
    console.out.print(f"{len(content)} frames, masks and {RESULTS} in {out}", markup=False)


def _written(frame: Frame, results: Sequence[Result], out: Path, overlay: bool) -> dict[str, Any]:
    """Write a frame's masks; its part of the JSON."""
    from hyperseg_runtime.reports.overlay import draw_overlay

    masks = [result.mask for result in results if isinstance(result, Instances)]
    for number, mask in enumerate(masks, 1):
        stem = f"{frame.name}.{number}" if len(masks) > 1 else frame.name
        write_atomically(out / f"{stem}.mask.png", encode_png(mask))
        if overlay:
            write_atomically(out / f"{stem}.overlay.png", encode_png(draw_overlay(frame.pixels_hwc_u8, mask)))
    return {"frame": frame.name, "results": [result.to_json() for result in results]}


@contextmanager
def _frame_progress(count: int | None) -> Iterator[Any]:
    """A bar on stderr where somebody watches; call what it gives after each frame."""
    with Progress(console=console.err, transient=True, disable=not console.err.is_terminal) as progress:
        task = progress.add_task("frames", total=count)
        yield lambda: progress.advance(task)
