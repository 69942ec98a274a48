"""Telling a process's `onnx` about our operators: exporters and checkers refuse unknown ones."""

from collections.abc import Mapping, Sequence

import onnx.defs
from onnx.defs import OpSchema

from hyperseg_kernels.catalog import PLUGIN_ATTRIBUTES, OperatorName

VALUE_TYPES = ("tensor(float)", "tensor(float16)", "tensor(bfloat16)")
"""What the type T of a schema may be."""


def register(
    operator: OperatorName,
    doc: str,
    inputs: Mapping[str, tuple[str, str]],
    outputs: Mapping[str, tuple[str, str]],
    ints: Sequence[str] = (),
) -> None:
    """Once per process. `inputs` and `outputs` are name -> (type, shape); `ints` are attributes a node must have."""
    if onnx.defs.has(operator.name, operator.domain):
        return
    attributes = [OpSchema.Attribute(name, OpSchema.AttrType.INTS, "", required=True) for name in ints]
    attributes += [OpSchema.Attribute(name, OpSchema.AttrType.STRING, "", required=False) for name in PLUGIN_ATTRIBUTES]
    onnx.defs.register_schema(
        OpSchema(
            operator.name,
            operator.domain,
            operator.version,
            doc=doc,
            inputs=[OpSchema.FormalParameter(name, *described) for name, described in inputs.items()],
            outputs=[OpSchema.FormalParameter(name, *described) for name, described in outputs.items()],
            type_constraints=[("T", list(VALUE_TYPES), "")],
            attributes=attributes,
        )
    )
