"""The inspector of TensorRT's double: each release has its own words (sources: `hyperseg_export.engine.inspector`)."""

import json
from collections.abc import Mapping
from typing import Any

from double_names import MAJOR, Listed

TYPES = {1: "Float", 10: "Half", 16: "BFloat16", 7: "Int64", 9: "Bool", 6: "Int32", 2: "UInt8"}
"""ONNX type -> what the inspector calls it."""
FORMATS = {1: "FP32", 10: "FP16", 16: "BFloat16", 7: "Int64", 9: "Boolean", 6: "INT32", 2: "UInt8"}
"""ONNX type -> what descriptions of formats call it."""
OWN = {"Conv", "Resize", "GridSample", "Shape", "PluginV3"}
"""Operators that TensorRT's own layers run; Myelin compiles the others."""
NO_SHAPES = "N/A due to dynamic shapes"

Shape = tuple[int, ...]


class EngineInspector(Listed):
    """Without a context with all shapes, formats of dynamic tensors are not shown."""

    def __init__(self, engine: Any) -> None:
        self._engine, self._context = engine, None

    @property
    def execution_context(self) -> Any:
        return self._context

    @execution_context.setter
    def execution_context(self, context: Any) -> None:
        assert context is None or context._engine is self._engine
        self._context = context

    def get_engine_information(self, form: Any) -> str:
        plan = self._engine._plan
        known = self._context is not None and not self._context.infer_shapes()
        report: dict[str, Any] = {"Layers": [_layer(entry, known) for entry in plan["layers"]]}
        names = [name for name, _, _ in plan["tensors"]]
        if MAJOR < 11:
            report["Bindings"] = names
        else:
            report["I/O Tensors"] = [{"Name": name, "Location": "Device"} for name in names]
        return json.dumps(report)


def _layer(entry: Mapping[str, Any], known: bool) -> dict[str, Any]:
    own = entry["op"] in OWN
    return {
        "Name": entry["name"],
        "LayerType": entry["op"] if own else "kgen",
        "Outputs": [_tensor(kind, own, known) for kind in entry["kinds"]],
        "TacticName": entry["tactic"],
    }


def _tensor(kind: int, own: bool, known: bool) -> dict[str, str]:
    name = TYPES[kind]
    described = f"Row major linear {FORMATS[kind]} format (kLINEAR)" if known else NO_SHAPES
    if MAJOR >= 11:
        return {"Datatype": name, "Format": described} if own else {"Datatype": name}
    return {"Format/Datatype": described if own else name}
