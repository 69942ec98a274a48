"""The operator as a native kernel for ONNX Runtime on a CPU, compiled on this machine when first asked for.

A session that has loaded the library takes the native kernel for the node and ignores the node's function
body; results differ by rounding only. The node, the file and every other runtime stay as they are.
"""

import logging
from pathlib import Path

from hyperseg_kernels import native

SOURCES = Path(__file__).parent / "csrc"

logger = logging.getLogger(__name__)


def library() -> Path:
    """For `SessionOptions.register_custom_ops_library`; needs a C++ compiler the first time.

    Raises native.NativeBuildError.
    """
    return native.build_library(SOURCES / "cpu_op.cpp", SOURCES)


def libraries_if_possible() -> list[Path]:
    """[library()], or nothing and one logged line where it cannot be built: the body serves as well."""
    try:
        return [library()]
    except native.NativeBuildError as error:
        logger.warning("no native deformable attention, the ONNX body runs instead: %s", error)
        return []
