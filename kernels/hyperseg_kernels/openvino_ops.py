"""Our operators for OpenVINO: networks of its own operators in place of our nodes."""

from openvino import Core
from openvino.frontend.onnx import ConversionExtension

from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION
from hyperseg_kernels.deformable_attention import openvino_op

CONVERTERS = {DEFORMABLE_ATTENTION: openvino_op.deformable_attention}


def add_to(core: Core) -> None:
    """Let `core` read ONNX files that hold our nodes."""
    for operator, convert in CONVERTERS.items():
        core.add_extension(ConversionExtension(operator.name, operator.domain, convert))
