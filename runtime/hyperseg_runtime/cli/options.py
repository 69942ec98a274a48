"""Arguments and options that several verbs share, and the pipeline they ask for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyperseg_runtime import console
from hyperseg_runtime.bundle.opening import read_manifest

if TYPE_CHECKING:
    from hyperseg_runtime.backends.base import Backend
    from hyperseg_runtime.session.pipeline import Pipeline

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder written by export.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
BackendOption = Annotated[
    str, typer.Option("--backend", help="onnxruntime (CPU), or tensorrt: engines made by build for this GPU.")
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin", exists=True, dir_okay=False, help="Library of TensorRT plugins to build or run with (repeatable)."
    ),
]
EnginesOption = Annotated[
    str | None,
    typer.Option("--engines", metavar="TARGET", help="Engines built compatibly on another machine: a folder's name."),
]
WeightsOption = Annotated[
    float | None,
    typer.Option("--weights-gb", help="GPU memory for weights of each engine built with --weight-streaming."),
]
UnmeasuredOption = Annotated[
    bool, typer.Option("--accept-unmeasured", help="Also run engines that were never compared with their graphs.")
]


@contextmanager
def opened_pipeline(directory: Path, engine_library: Callable[[], "Backend"]) -> Iterator["Pipeline"]:
    from hyperseg_runtime.session.pipeline import Pipeline

    size_bytes = read_manifest(directory).size_bytes
    with (
        engine_library() as backend,
        console.byte_progress("checking the bundle", size_bytes) as on_bytes,
        Pipeline.load(directory, backend, on_bytes) as pipeline,
    ):
        yield pipeline
