"""`hyperseg-trt video`: masks for the frames of a video."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from hyperseg_runtime import console
from hyperseg_runtime.calls.tracing import traced
from hyperseg_runtime.cli import options
from hyperseg_runtime.cli.asked import (
    Asked,
    BoxOption,
    ClassesOption,
    MaskOption,
    PointOption,
    ScribbleOption,
    SeedOption,
    asked_of,
)
from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import Instances, encode_png
from hyperseg_runtime.errors import InputError, PartialInputError
from hyperseg_runtime.families.family import FrameResults
from hyperseg_runtime.files.results import Kind, ResultFolder, result_name
from hyperseg_runtime.files.writing import output_folder
from hyperseg_runtime.images.frames import Frame, Frames, LeftOut, open_frames, told
from hyperseg_runtime.reports.video_record import VIDEO_RECORD, VideoRecord

if TYPE_CHECKING:
    from hyperseg_runtime.reports.frame_pictures import FramePictures


def video(
    bundle: options.BundleArgument,
    frames: Annotated[Path, typer.Argument(metavar="FRAMES", help="Folder of images, or a video file.")],
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="What to segment in every frame.")
    ] = None,
    classes: ClassesOption = None,
    box: BoxOption = None,
    point: PointOption = None,
    scribble: ScribbleOption = None,
    mask: MaskOption = None,
    region_seed: SeedOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path(),
    overlay: Annotated[bool, typer.Option("--overlay", help="Also draw each mask on its frame.")] = False,
    objects: Annotated[
        bool,
        typer.Option(
            "--objects", help="Also one PNG a frame, with the number of the TEXT or region that each pixel is of."
        ),
    ] = False,
    overlay_video: Annotated[
        bool,
        typer.Option(
            "--overlay-video", help="Also overlay.mp4: all frames with what each TEXT or region is, in colours."
        ),
    ] = False,
    overwrite: options.OverwriteOption = False,
    task: Annotated[str | None, typer.Option(help="One of the family's tasks for frames; default: its first.")] = None,
    threads: options.ThreadsOption = None,
    native: options.NativeOption = False,
    backend: options.BackendOption = "onnxruntime",
    low_memory: options.LowMemoryOption = False,
    bf16: options.Bf16Option = False,
    verify_hashes: options.VerifyHashesOption = False,
    accept_unmeasured: options.UnmeasuredOption = False,
    engines: options.EnginesOption = None,
    weights_gb: options.WeightsOption = None,
    trace: options.TraceOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Segment what TEXT names in each of FRAMES, what was pointed at in the first one, or objects of a list of classes,
    seen with the memory of the frames before it.

    Writes FRAME.mask.png and video.json as frames are done; masks are numbered where there are several. Objects of a
    list keep their numbers through all frames, and FRAME.mask.png has the number of each pixel's object in 16 bits.
    overlay.mp4 is VP9, which browsers play, and appears when all frames are done.
    With --trace stages overlap as they do in a server, and their times with them.
    Frames that cannot be read are left out and listed, and the exit code is then 11; regions need the first one.
    """
    from hyperseg_runtime.reports.frame_pictures import frame_pictures

    options.require_texts(texts or [])
    request = asked_of(texts or [], task, classes, box, point, scribble, mask, region_seed).request
    if objects and isinstance(request, Classes):
        raise InputError("--objects is for texts and regions; of a list, FRAME.mask.png has the number of every object")
    source = open_frames(frames)
    kinds = (Kind.MASK, Kind.OVERLAY) if overlay else (Kind.MASK,)
    folder = ResultFolder(out, overwrite)
    chosen = options.backend_options(
        threads, native, accept_unmeasured, engines, weights_gb, low_memory, bf16, verify_hashes
    )
    content: list[dict[str, Any]] = []
    with (
        output_folder(out),
        options.opened_pipeline(bundle, backend, timed_stages=trace is None, **chosen) as pipeline,
        traced(trace, overwrite),
        _frame_progress(source.count) as advance,
    ):
        for frame_source, name in source.names:
            folder.require_free(_names(name, kinds, Asked(request).results or 1), frame_source)
            if objects:
                folder.require_free([result_name(name, Kind.OBJECTS)], frame_source)
        session = pipeline.open_video()
        pictures = frame_pictures(request)
        with VideoRecord(folder, source.source) as record, _film(overlay_video, folder, source, pictures) as film:
            for frame, ready in session.over(source, request):
                row = _written(frame, ready, folder, kinds, pictures)
                if objects:
                    _write_objects(frame, ready, folder)
                film(frame, ready)
                content.append(row)
                record.add(row)
                advance()
            left_out = [_told(row) for row in source.left_out]
            record.finish(left_out=left_out)
    if as_json:
        console.print_json({"frames": content, "left_out": left_out, "complete": True})
    else:
        console.out.print(f"{len(content)} frames, masks and {VIDEO_RECORD} in {out}", markup=False)
    if any(row.lost for row in source.left_out):
        raise PartialInputError(
            f"{frames}: {len(content)} frames are done, not all of the input: {told(source.left_out)}"
        )
    if source.left_out:
        console.err.print(f"{frames}: {told(source.left_out)}", markup=False)


def _names(frame: str, kinds: Iterable[Kind], asked: int) -> Iterator[str]:
    """Of a frame's result files; numbered where several things are asked."""
    for number in range(1, asked + 1):
        for kind in kinds:
            yield result_name(frame, kind, number if asked > 1 else None)


def _written(
    frame: Frame, ready: FrameResults, folder: ResultFolder, kinds: Iterable[Kind], pictures: "FramePictures"
) -> dict[str, Any]:
    """Write a frame's masks; its part of the JSON."""
    for kind, number, drawn in pictures.files(frame.pixels_hwc_u8, _instances(ready), kinds):
        folder.write(result_name(frame.name, kind, number), encode_png(drawn), frame.source)
    return {"frame": frame.name, "results": [result.to_json() for result in ready.results]}


def _write_objects(frame: Frame, ready: FrameResults, folder: ResultFolder) -> None:
    from hyperseg_runtime.reports.objects import object_png

    folder.write(result_name(frame.name, Kind.OBJECTS), object_png(_instances(ready)), frame.source)


@contextmanager
def _film(
    wanted: bool, folder: ResultFolder, frames: Frames, pictures: "FramePictures"
) -> Iterator[Callable[[Frame, FrameResults], None]]:
    """Call what it gives for each frame."""
    if not wanted:
        yield lambda frame, ready: None
        return
    from hyperseg_runtime.reports.overlay_video import OverlayVideo

    with OverlayVideo(folder, frames.source, frames.rate_hz) as film:
        yield lambda frame, ready: film.add(pictures.film(frame.pixels_hwc_u8, _instances(ready)))
        film.finish()


def _instances(ready: FrameResults) -> list[Instances]:
    return [result for result in ready.results if isinstance(result, Instances)]


def _told(left_out: LeftOut) -> dict[str, Any]:
    return {"frame": left_out.name, "reason": left_out.reason, "lost": left_out.lost}


@contextmanager
def _frame_progress(count: int | None) -> Iterator[Any]:
    """A bar on stderr where somebody watches; call what it gives after each frame."""
    with Progress(console=console.err, transient=True, disable=not console.err.is_terminal) as progress:
        task = progress.add_task("frames", total=count)
        yield lambda: progress.advance(task)
