"""What the double's plans hold, and how it runs them: ONNX Runtime on the bytes of the double's GPU."""

import hashlib
import json
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from double_gpu import GPU

from hyperseg_export.onnx.upcast import upcast
from hyperseg_runtime.contracts import axes, bfloat16

MAGIC = b"DOUBLE OF A PLAN"
BFLOAT16 = onnx.TensorProto.BFLOAT16
HOST_TYPES = {1: np.float32, 2: np.uint8, 7: np.int64, 9: np.bool_, 10: np.float16, BFLOAT16: np.uint16}


def pack_plan(header: Mapping[str, Any], model: onnx.ModelProto) -> bytes:
    """A plan carries its weights and the hash of itself."""
    text = json.dumps(header).encode()
    body = len(text).to_bytes(8, "little") + text + model.SerializeToString()
    return MAGIC + hashlib.sha256(body).digest() + body


def unpack_plan(plan: bytes) -> tuple[dict[str, Any], onnx.ModelProto] | None:
    """None for anything that is not a whole plan."""
    digest, body = plan[len(MAGIC) : len(MAGIC) + 32], plan[len(MAGIC) + 32 :]
    if not plan.startswith(MAGIC) or hashlib.sha256(body).digest() != digest:
        return None
    length = int.from_bytes(body[:8], "little")
    return json.loads(body[8 : 8 + length]), onnx.ModelProto.FromString(body[8 + length :])


class Kernels:
    """The model as something that reads and writes device memory, in the model's types."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.inputs = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
        self.outputs = {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
        self._axes = {value.name: _axes(value) for value in (*model.graph.input, *model.graph.output)}
        self.attends = any(node.op_type == "Attention" for node in model.graph.node)
        self._session: ort.InferenceSession | None = None

    def output_shape(self, name: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        """-1 for what does not follow from the inputs known so far."""
        sizes = {
            axis: n
            for i, shape in shapes.items()
            for axis, n in zip(self._axes[i], shape, strict=True)
            if isinstance(axis, str)
        }
        return tuple(
            axes.size_of(axis, sizes) if sizes.keys() >= set(axes.names_in(axis)) else -1 for axis in self._axes[name]
        )

    def run(
        self,
        addresses: Mapping[str, int],
        shapes: Mapping[str, tuple[int, ...]],
        spoil: Any = None,
        unwritten: Collection[str] = (),
    ) -> None:
        """Read the inputs, compute, write the outputs but for `unwritten`; all at the time of the call."""
        given = {name: self._load(addresses[name], kind, shapes[name]) for name, kind in self.inputs.items()}
        names = list(self.outputs)
        for name, values in zip(names, self._opened().run(names, given), strict=True):
            made = values if spoil is None or values.dtype.kind != "f" else spoil(values)
            assert made.shape == self.output_shape(name, shapes), f"{name} {made.shape}"
            if name in unwritten:
                continue
            bits = bfloat16.to_bits(made) if self.outputs[name] == BFLOAT16 else np.ascontiguousarray(made)
            GPU.bytes_at(addresses[name], bits.nbytes)[:] = bits.reshape(-1).view(np.uint8)

    def replace_weights(self, values: Mapping[str, np.ndarray]) -> None:
        for tensor in self.model.graph.initializer:
            if tensor.name in values:
                tensor.CopyFrom(onnx.numpy_helper.from_array(values[tensor.name], tensor.name))
        self._session = None

    def _load(self, address: int, kind: int, shape: tuple[int, ...]) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(HOST_TYPES[kind]).itemsize
        values = GPU.bytes_at(address, size).copy().view(HOST_TYPES[kind]).reshape(shape)
        return bfloat16.from_bits(values) if kind == BFLOAT16 else values

    def _opened(self) -> ort.InferenceSession:
        if self._session is None:
            options = ort.SessionOptions()
            options.log_severity_level, options.intra_op_num_threads = 3, 1
            options.enable_mem_pattern = False
            with tempfile.TemporaryDirectory() as folder:
                path, wide = Path(folder) / "model.onnx", Path(folder) / "wide.onnx"
                onnx.save(self.model, path)
                if _holds_bfloat16(self.model):
                    upcast(path, wide)
                    path = wide
                self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return self._session


def _holds_bfloat16(model: onnx.ModelProto) -> bool:
    weights = (tensor.data_type for tensor in model.graph.initializer)
    values = (value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.value_info))
    return BFLOAT16 in {*weights, *values}


def _axes(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
