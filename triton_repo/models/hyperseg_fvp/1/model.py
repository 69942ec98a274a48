"""One graph of the bundle, for profiles without TensorRT: requests of a batch run in one call."""

from typing import Any

import numpy as np

from hyperseg_serving.refusals import failure_of
from hyperseg_serving.service import python_backend
from hyperseg_serving.service.opening import open_graph


class TritonPythonModel:
    def initialize(self, arguments: dict[str, str]) -> None:
        self._graph, self._backend = open_graph(python_backend.model_parameters(arguments))

    def execute(self, requests: list[Any]) -> list[Any]:
        try:
            batches = [python_backend.read_tensors(request) for request in requests]
            inputs = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
            outputs = self._graph.run({name: self._backend.upload(array) for name, array in inputs.items()})
            ends = np.cumsum([len(next(iter(batch.values()))) for batch in batches])[:-1]
            split = {name: np.split(buffer.to_host(), ends) for name, buffer in outputs.items()}
            return [
                python_backend.answer({name: np.ascontiguousarray(parts[row]) for name, parts in split.items()})
                for row in range(len(requests))
            ]
        except Exception as error:
            return [python_backend.failed(failure_of(error)) for _ in requests]
