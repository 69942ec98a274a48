"""Opening an ONNX file as what its contract says, and the library's words about memory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hyperseg_runtime.backends.onnxruntime.library import ort
from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec
from hyperseg_runtime.errors import BundleError, ResourceError

DISABLED = "optimization.disable_specified_optimizers"
RELU_REWRITE = "ReluQuantRewrite"
"""A pass of ONNX Runtime 1.31 that must not run: it takes a Relu away before a QuantizeLinear that is thought to cut
off what is below zero. e4m3 with a zero point of 0 does not: a mask decoder in fp8 lost 68 points of mean IoU. It can
go when test_cpu_defaults.py passes without it."""
OUT_OF_MEMORY = ("Failed to allocate memory", "bad_alloc", "bad allocation", "out of memory")
ONNX_TYPES = {
    "tensor(float)": DType.FLOAT32,
    "tensor(float16)": DType.FLOAT16,
    "tensor(bfloat16)": DType.BFLOAT16,
    "tensor(float8e4m3fn)": DType.FLOAT8,
    "tensor(int64)": DType.INT64,
    "tensor(int8)": DType.INT8,
    "tensor(uint8)": DType.UINT8,
    "tensor(int4)": DType.INT4,
    "tensor(bool)": DType.BOOL,
}


def open_session(
    spec: GraphSpec, path: Path, options: "Callable[[], ort.SessionOptions]", providers: Sequence[Any]
) -> "ort.InferenceSession":
    """A session with exactly the tensors of `spec`.

    Raises BundleError for a file or library that cannot be opened and for other tensors, ResourceError where memory
    runs out. Without `enable_fallback=0` the library would open the file again on the CPU where the provider fails,
    and only print so (`InferenceSession.__init__` of 1.31.1).
    """
    try:
        with memory_explained(path.name):
            session = ort.InferenceSession(path, options(), providers=providers, enable_fallback=0)
    except ResourceError:
        raise
    except Exception as error:  # the library raises several unrelated types
        raise BundleError(f"{path.name}: ONNX Runtime {ort.__version__} cannot open it: {error}") from error
    _compare(spec, session)
    return session


@contextmanager
def memory_explained(what: str) -> Iterator[None]:
    """ResourceError for Python's error and for the library's own words about memory: it has no type for them."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise ResourceError(
                f"{what}: memory ran out; close other programs, use fewer --threads or a machine with more"
            ) from error
        raise


def _compare(spec: GraphSpec, session: "ort.InferenceSession") -> None:
    """BundleError unless the file has exactly the tensors of `spec`."""
    for kind, expected, found in (
        ("input", spec.inputs, session.get_inputs()),
        ("output", spec.outputs, session.get_outputs()),
    ):
        ours = [(tensor.name, tensor.dtype, list(tensor.axes)) for tensor in expected]
        theirs = [(tensor.name, ONNX_TYPES.get(tensor.type), list(tensor.shape)) for tensor in found]
        if ours != theirs:
            wrong = next(
                (pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]),
                (f"{len(ours)} {kind}s", f"{len(theirs)} {kind}s"),
            )
            raise BundleError(f"graph {spec.name}: the manifest says {kind} {wrong[0]}, the ONNX file has {wrong[1]}")
