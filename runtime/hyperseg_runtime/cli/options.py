"""Arguments and options that several verbs share, and the pipeline they ask for."""

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hyperseg_runtime import console
from hyperseg_runtime.bundle.opening import read_manifest
from hyperseg_runtime.errors import InputError, Notice
from hyperseg_runtime.files.results import Kind
from hyperseg_runtime.images.frames import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from hyperseg_runtime.session.pipeline import Pipeline

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder written by export.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
NativeOption = Annotated[
    bool,
    typer.Option("--native", help="Our C++ kernels on the CPU: quicker; need g++ or clang++ once."),
]
BackendOption = Annotated[
    str,
    typer.Option(
        "--backend",
        help="onnxruntime (CPU), openvino (x86 CPUs), onnxruntime-cuda (the same files on a GPU), or tensorrt: engines "
        "made by build.",
    ),
]
LowMemoryOption = Annotated[
    bool,
    typer.Option("--low-memory", help="On a CPU: few graphs open at once, weights left in their files; slower."),
]
VerifyHashesOption = Annotated[
    bool,
    typer.Option("--verify-hashes", help="Hash all files of BUNDLE; default: those that changed since the last time."),
]
Bf16Option = Annotated[
    bool,
    typer.Option("--bf16", help="With --backend openvino: products in bfloat16, twice as quick where the CPU has it."),
]
EnginesOption = Annotated[
    str | None,
    typer.Option("--engines", metavar="TARGET", help="Engines built compatibly on another machine: a folder's name."),
]
WeightsOption = Annotated[
    float | None,
    typer.Option("--weights-gb", help="GPU memory for weights of each engine built with --weight-streaming."),
]
OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite", help="Results may replace files that are not unchanged results of the same input."),
]
TraceOption = Annotated[
    Path | None,
    typer.Option("--trace", metavar="FILE", dir_okay=False, help="Also write a timeline, for ui.perfetto.dev."),
]
ALWAYS = (Kind.MASK, Kind.OVERLAY, Kind.RESULT)


class Also(StrEnum):
    """Further files of a result."""

    COCO = "coco"
    POLYGONS = "polygons"
    LABELME = "labelme"
    YOLO = "yolo"


AlsoOption = Annotated[
    list[Also] | None,
    typer.Option("--also", help="Write such a file too: COCO JSON, GeoJSON polygons, labelme JSON, YOLO text."),
]
UnmeasuredOption = Annotated[
    bool, typer.Option("--accept-unmeasured", help="Also run engines that were never compared with their graphs.")
]


def backend_options(
    threads: int | None,
    native: bool,
    accept_unmeasured: bool = False,
    engines: str | None = None,
    weights_gb: float | None = None,
    low_memory: bool = False,
    bf16: bool = False,
    verify_hashes: bool = False,
) -> dict[str, Any]:
    """Options of the command line as `Pipeline.load` takes them. Raises InputError for what is no amount of memory."""
    from hyperseg_kernels import cpu_ops

    if weights_gb is not None and not (math.isfinite(weights_gb) and weights_gb >= 0):
        raise InputError(f"--weights-gb is {weights_gb}, expected a number of gigabytes, 0 or more")
    return {
        "threads": threads,
        "custom_op_libraries": cpu_ops.libraries_if_possible() if native else (),
        "accept_unmeasured": accept_unmeasured,
        "target": engines,
        "weight_streaming_bytes": None if weights_gb is None else int(weights_gb * 1e9),
        "low_memory": low_memory,
        "bf16": bf16,
        "verify_hashes": verify_hashes,
    }


def kinds_of(also: Sequence[Also] | None) -> tuple[Kind, ...]:
    """The files that are written of every result, and those that were asked for."""
    return (*ALWAYS, *(Kind[one.name] for one in dict.fromkeys(also or ())))


def require_texts(texts: Sequence[str]) -> None:
    """Raise InputError for a text that is a file, or the path of a folder: the caller meant several inputs, or forgot
    the text. One that only looks like an image's name, or that is a folder's name here, is taken with a warning."""
    for text in texts:
        is_folder = os.path.isdir(text)  # noqa: PTH112  (Path's raise for texts that are too long)
        if os.path.lexists(text) and (not is_folder or _has_separator(text)):
            raise InputError(
                f"{text} is a {'folder' if is_folder else 'file'}, expected a text: one image or video is taken at a "
                "time, then what is asked of it (if the text is meant, put a space after it)"
            )
        if is_folder:
            warnings.warn(Notice(f"there is a folder {text}; it is taken as a text"), stacklevel=2)
        elif os.path.splitext(text)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122
            warnings.warn(Notice(f"there is no file {text}; it is taken as a text"), stacklevel=2)


def _has_separator(text: str) -> bool:
    return any(separator in text for separator in (os.sep, os.altsep) if separator)


@contextmanager
def opened_pipeline(directory: Path, backend: str, **options: Any) -> Iterator["Pipeline"]:
    """A pipeline on a bundle, with a bar while a large one is checked."""
    from hyperseg_runtime.session.pipeline import Pipeline

    size_bytes = read_manifest(directory).size_bytes
    with (
        console.byte_progress("checking the bundle", size_bytes) as on_bytes,
        Pipeline.load(directory, backend, on_bytes, **options) as pipeline,
    ):
        yield pipeline
