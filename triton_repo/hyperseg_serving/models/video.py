"""One sequence of requests for each video: passes frames on to the public model as steps of a stream."""

import time
from typing import Any

import triton_python_backend_utils as pb_utils

from hyperseg_runtime.families import FAMILIES
from hyperseg_serving import contract
from hyperseg_serving.names import ModelNames
from hyperseg_serving.refusals import Reason, RefusalError, failure_of
from hyperseg_serving.service import python_backend
from hyperseg_serving.service.parameters import FAMILY, model_parameters
from hyperseg_serving.service.requests import bytes_tensor, parse_request
from hyperseg_serving.service.streams import step_of


class TritonPythonModel:
    def initialize(self, arguments: dict[str, str]) -> None:
        parameters = model_parameters(arguments)
        self._public = ModelNames(FAMILIES[parameters[FAMILY]]).public
        self._limits = contract.Limits.from_parameters(parameters)
        python_backend.bound_elements(self._limits.max_elements)

    def execute(self, requests: list[Any]) -> list[Any]:
        start = time.monotonic()
        return [self._serve(request, start) for request in requests]

    def _serve(self, request: Any, start: float) -> Any:
        """Frames of one call go one after another from `start` on: the later ones have less time left."""
        try:
            timeout_us = request.timeout()
            left_us = timeout_us - int((time.monotonic() - start) * 1e6)
            if request.is_cancelled() or (timeout_us and left_us <= 0):
                raise RefusalError(Reason.CANCELLED, "the caller went away, or the frame's time is over")
            parsed = parse_request(python_backend.read_tensors(request), self._limits)
            step = step_of(
                parsed.options,
                start=bool(request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START),
                end=bool(request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END),
            )
            stream = pb_utils.Tensor(contract.STREAM.name, bytes_tensor(step.model_dump_json().encode()))
            inputs = [*request.inputs(), stream]
            (result,) = python_backend.ask_model(
                self._public, inputs, [contract.RESULT.name], left_us if timeout_us else 0, request.request_id()
            )
            return python_backend.answer(result)
        except Exception as error:
            return python_backend.failed(failure_of(error, python_backend.name_of(request)))
