"""`hyperseg-trt video`: masks for the frames of a video."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import Progress

from hyperseg_runtime import console
from hyperseg_runtime.backends.by_name import EngineChoice, make_backend
from hyperseg_runtime.cli import options as cli
from hyperseg_runtime.contracts.results import SegmentationResult, encode_png
from hyperseg_runtime.files import output_folder, write_atomically
from hyperseg_runtime.images.frames import frame_count, read_frames

RESULTS = "video.json"


def video(
    bundle: cli.BundleArgument,
    frames: Annotated[Path, typer.Argument(metavar="FRAMES", help="Folder of images, or a video file.")],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="What to segment in every frame.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path(),
    overlay: Annotated[bool, typer.Option("--overlay", help="Also draw each mask on its frame.")] = False,
    threads: cli.ThreadsOption = None,
    backend: cli.BackendOption = "onnxruntime",
    accept_unmeasured: cli.UnmeasuredOption = False,
    plugin: cli.PluginOption = None,
    engines: cli.EnginesOption = None,
    weights_gb: cli.WeightsOption = None,
    as_json: cli.JsonOption = False,
) -> None:
    """Segment what TEXT names in each of FRAMES, seen with the memory of the frames before it.

    Writes FRAME.mask.png as frames are done, numbered where there are several TEXTs, and at the end video.json.
    """
    count = frame_count(frames)
    choice = EngineChoice.asked(accept_unmeasured, plugin, engines, weights_gb)
    engine_library = partial(make_backend, backend, bundle, threads, (), choice)
    content: list[dict[str, Any]] = []
    with (
        output_folder(out),
        cli.opened_pipeline(bundle, engine_library) as pipeline,
        _frame_progress(count) as advance,
    ):
        session = pipeline.open_video()
        for frame in read_frames(frames):
            results = session.segment_many(frame.pixels_hwc_u8, texts)
            _write(results, out / frame.name, frame.pixels_hwc_u8 if overlay else None)
            content.append({"frame": frame.name, "results": [result.to_json() for result in results]})
            advance()
        write_atomically(out / RESULTS, console.json_bytes({"frames": content}))
    if as_json:
        console.print_json({"frames": content})
        return
    console.out.print(f"{len(content)} frames, masks and {RESULTS} in {out}", markup=False)


def _write(results: list[SegmentationResult], stem: Path, pixels: np.ndarray | None) -> None:
    from hyperseg_runtime.reports.overlay import draw_overlay

    for number, result in enumerate(results, 1):
        name = f"{stem}.{number}" if len(results) > 1 else str(stem)
        write_atomically(Path(f"{name}.mask.png"), encode_png(result.mask))
        if pixels is not None:
            write_atomically(Path(f"{name}.overlay.png"), encode_png(draw_overlay(pixels, result.mask)))


@contextmanager
def _frame_progress(count: int | None) -> Iterator[Any]:
    """A bar on stderr where somebody watches; call what it gives after each frame."""
    with Progress(console=console.err, transient=True, disable=not console.err.is_terminal) as progress:
        task = progress.add_task("frames", total=count)
        yield lambda: progress.advance(task)
