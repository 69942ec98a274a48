"""First step of the ensemble: checks the request, decodes the image, makes what the image graphs take."""

from typing import Any

import numpy as np

from hyperseg_serving import contract
from hyperseg_serving.refusals import failure_of
from hyperseg_serving.service import python_backend
from hyperseg_serving.service.opening import open_image_inputs
from hyperseg_serving.service.requests import bytes_tensor, open_image, parse_request


class TritonPythonModel:
    def initialize(self, arguments: dict[str, str]) -> None:
        parameters = python_backend.model_parameters(arguments)
        self._limits = contract.Limits.from_parameters(parameters)
        self._prepare = open_image_inputs(parameters)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._serve(request) for request in requests]

    def _serve(self, request: Any) -> Any:
        try:
            parsed = parse_request(python_backend.read_tensors(request), self._limits)
            image = open_image(parsed.need_image(), self._limits)
            passed_on = {
                contract.SIZE.name: np.array(image.shape[:2], np.int64),
                contract.CHECKED_TEXT.name: bytes_tensor(*(text.encode() for text in parsed.texts)),
            }
            return python_backend.answer({**self._prepare(image), **passed_on})
        except Exception as error:
            return python_backend.failed(failure_of(error))
