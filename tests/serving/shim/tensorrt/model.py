"""A backend called tensorrt for machines without: runs the ONNX file of the same graph on the CPU.

A server with it loads the configurations for a GPU as they are.
"""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self._outputs = [output["name"] for output in config["output"]]
        graph = config["name"].removeprefix("hyperseg_")
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        path = Path(os.environ["HYPERSEG_BUNDLE"]) / "graphs" / f"{graph}.onnx"
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        batches = [{t.name(): t.as_numpy() for t in request.inputs()} for request in requests]
        joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        outputs = self._session.run(self._outputs, joined)
        ends = np.cumsum([len(next(iter(batch.values()))) for batch in batches])[:-1]
        parts = [np.split(output, ends) for output in outputs]
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(name, np.ascontiguousarray(part[row]))
                    for name, part in zip(self._outputs, parts, strict=True)
                ]
            )
            for row in range(len(requests))
        ]
