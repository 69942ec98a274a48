"""First step of the ensemble: checks the request, decodes the image, makes what the image graphs take."""

from typing import Any

import numpy as np

from hyperseg_serving import contract
from hyperseg_serving.refusals import failure_of
from hyperseg_serving.service import python_backend
from hyperseg_serving.service.mask_stage import require_ensemble_request
from hyperseg_serving.service.opening import open_image_inputs
from hyperseg_serving.service.parameters import draining, model_parameters
from hyperseg_serving.service.requests import bytes_tensor, open_image, parse_request


class TritonPythonModel:
    def initialize(self, arguments: dict[str, str]) -> None:
        parameters = model_parameters(arguments)
        self._limits = contract.Limits.from_parameters(parameters)
        python_backend.bound_elements(self._limits.max_elements)
        self._prepare = open_image_inputs(parameters)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._serve(request) for request in requests]

    def _serve(self, request: Any) -> Any:
        try:
            parsed = parse_request(python_backend.read_tensors(request), self._limits)
            require_ensemble_request(parsed, self._limits, draining())
            image = open_image(parsed.need_image(), self._limits)
            checked = {
                contract.SIZE.name: np.array(image.shape[:2], np.int64),
                contract.CHECKED_TEXT.name: bytes_tensor(*(text.encode() for text in parsed.texts)),
            }
            return python_backend.answer({**self._prepare(image), **checked})
        except Exception as error:
            return python_backend.failed(failure_of(error, python_backend.name_of(request)))
