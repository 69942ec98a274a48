"""A backend chosen by its name; never another one instead."""

from collections.abc import Sequence
from pathlib import Path

from hyperseg_runtime.backends.base import Backend
from hyperseg_runtime.errors import InputError

NAMES = ("onnxruntime", "tensorrt")


def make_backend(
    name: str,
    bundle: Path,
    threads: int | None = None,
    custom_op_libraries: Sequence[Path] = (),
    accept_unmeasured: bool = False,
    overlap: bool = False,
) -> Backend:
    """The backend `name` for a bundle. Raises InputError for an unknown name or options of another backend.

    `overlap`: engines run side by side where they can; the time of a stage then says little.
    """
    if name not in NAMES:
        raise InputError(f"unknown backend {name!r}; choose {', '.join(NAMES)}")
    if name == "tensorrt":
        from hyperseg_runtime.backends.tensorrt import TensorRTBackend

        if threads is not None or custom_op_libraries:
            raise InputError("--threads and --native are for the backend onnxruntime; engines run on the GPU")
        return TensorRTBackend(bundle, accept_unmeasured, overlap=overlap)
    from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend

    if accept_unmeasured:
        raise InputError("--accept-unmeasured is about engines; it goes with --backend tensorrt")
    return OnnxRuntimeBackend(threads, custom_op_libraries)
