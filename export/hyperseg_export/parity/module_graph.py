"""A torch module with the face of an opened graph, so that the runtime's own code can drive it."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from hyperseg_runtime.backends.base import Backend, Buffer
from hyperseg_runtime.contracts.graph_spec import GraphSpec


class ModuleGraph:
    """Buffers are the host backend's; in-place outputs are copied back into their input buffers."""

    def __init__(self, spec: GraphSpec, module: nn.Module, backend: Backend) -> None:
        self.spec = spec
        self._module = module
        self._backend = backend

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        self.spec.check_inputs(inputs)
        # torch takes no memory that it may not write: rows of a mapped table are copied.
        arrays = (np.require(inputs[name].to_host(), requirements="W") for name in self.spec.input_names())
        with torch.inference_mode():
            made = self._module(*(torch.from_numpy(array) for array in arrays))
        tensors = (made,) if isinstance(made, Tensor) else made
        outputs: dict[str, Buffer] = {}
        for name, tensor in zip(self.spec.output_names(), tensors, strict=True):
            source = self.spec.in_place.get(name)
            if source is None:
                outputs[name] = self._backend.upload(tensor.numpy())
            else:
                np.copyto(inputs[source].to_host(), tensor.numpy())
                outputs[name] = inputs[source]
        return outputs
