"""Our operators as native kernels for ONNX Runtime on a CPU, compiled on this machine when first asked for.

A session that has loaded the library takes the native kernels for our nodes and ignores the nodes' function
bodies; results differ by rounding only. The nodes, the file and every other runtime stay as they are. Values may be
float32 or float16.
"""

import logging
from pathlib import Path

from hyperseg_kernels import native

PACKAGE = Path(__file__).parent
SOURCES = tuple(
    PACKAGE / folder for folder in ("csrc", "deformable_attention/csrc", "mask_readout/csrc", "pillow_resize/csrc")
)

logger = logging.getLogger(__name__)


def library() -> Path:
    """For `SessionOptions.register_custom_ops_library`; needs a C++ compiler the first time.

    Raises native.NativeBuildError.
    """
    return native.build_library(SOURCES[0] / "cpu_ops.cpp", SOURCES)


def libraries_if_possible() -> list[Path]:
    """[library()], or nothing and one logged line where it cannot be built: the bodies serve as well."""
    try:
        return [library()]
    except native.NativeBuildError as error:
        logger.warning("no native operators, their ONNX bodies run instead: %s", error)
        return []
