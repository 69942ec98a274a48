"""The public model: image and text in, masks and answers out. It owns caches and all graphs behind the image's."""

from typing import Any

import triton_python_backend_utils as pb_utils

from hyperseg_serving import contract
from hyperseg_serving.service import python_backend
from hyperseg_serving.service.desk import Desk
from hyperseg_serving.service.metrics import Metrics
from hyperseg_serving.service.opening import open_service
from hyperseg_serving.service.parameters import draining, identity, model_parameters, ungated, unmeasured


class TritonPythonModel:
    def initialize(self, arguments: dict[str, str]) -> None:
        parameters = model_parameters(arguments)
        limits = contract.Limits.from_parameters(parameters)
        python_backend.bound_elements(limits.max_elements)
        service = open_service(parameters, limits, python_backend.StageCalls)
        accepted = unmeasured(parameters), ungated(parameters)
        self._desk = Desk(service, limits, Metrics(pb_utils), draining, identity(), *accepted)

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            self._desk.take(python_backend.StreamedCaller(request))

    def finalize(self) -> None:
        self._desk.close()
