"""The module `onnxruntime`, whichever of its packages brought it."""

from hyperseg_runtime.errors import EnvironmentMissingError
from hyperseg_runtime.importable import owners

CHOICE = "pip install 'hyperseg-trt[cpu]', or 'hyperseg-trt[gpu]' for --backend onnxruntime-cuda"

try:
    import onnxruntime as ort

    ort.InferenceSession  # noqa: B018  (pip leaves an empty folder where it removed one of two packages)
except ModuleNotFoundError as error:
    raise EnvironmentMissingError(f"ONNX Runtime is missing; run: {CHOICE}") from error
except (ImportError, AttributeError) as error:
    raise EnvironmentMissingError(
        f"ONNX Runtime cannot be loaded ({error}); run: "
        f"pip uninstall -y {' '.join(owners('onnxruntime')) or 'onnxruntime'}, then {CHOICE}"
    ) from error

__all__ = ["ort"]
