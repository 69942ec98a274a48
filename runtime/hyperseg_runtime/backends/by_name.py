"""A backend chosen by its name; never another one instead."""

from typing import Any

from hyperseg_runtime.backends.base import Backend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import InputError

OPTIONS = {
    "onnxruntime": ("threads", "custom_op_libraries", "low_memory", "emulated"),
    "onnxruntime-cuda": (),
    "openvino": ("threads", "custom_op_libraries", "low_memory", "bf16"),
    "tensorrt": ("accept_unmeasured", "target", "weight_streaming_bytes", "recordings"),
}
"""Names of the backends -> what only they can be told; see their classes."""


def make_backend(name: str, bundle: Bundle, timed_stages: bool = False, **options: Any) -> Backend:
    """The backend `name` for a bundle.

    With `timed_stages` every call waits until it is done, so that the time of a stage is its own. Options that are
    None, False or empty say nothing. Raises InputError for an unknown name, an unknown option or another backend's.
    """
    if name not in OPTIONS:
        raise InputError(f"unknown backend {name!r}; choose {', '.join(OPTIONS)}")
    given = {
        option: value for option, value in options.items() if value is not None and value is not False and value != ()
    }
    for option in given:
        if option not in OPTIONS[name]:
            others = " or ".join(other for other, known in OPTIONS.items() if option in known)
            of_whom = f"goes with the backend {others}" if others else "is an option of no backend"
            raise InputError(f"{option} {of_whom}; {name} takes {', '.join(OPTIONS[name]) or 'none'}")
    if name == "tensorrt":
        from hyperseg_runtime.backends.tensorrt import TensorRTBackend

        return TensorRTBackend(bundle, overlap=not timed_stages, **given)
    if name == "onnxruntime-cuda":
        from hyperseg_runtime.backends.onnxruntime.cuda import OnnxRuntimeCudaBackend

        return OnnxRuntimeCudaBackend(overlap=not timed_stages)
    if name == "openvino":
        from hyperseg_runtime.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(**given)
    from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(**given)
