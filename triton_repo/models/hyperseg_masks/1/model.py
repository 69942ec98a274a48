"""Last step of the ensemble: reads the texts and decodes masks from what the image graphs made."""

from typing import Any

from hyperseg_serving import contract
from hyperseg_serving.refusals import failure_of
from hyperseg_serving.service import python_backend
from hyperseg_serving.service.opening import open_mask_stage
from hyperseg_serving.service.requests import parse_mask_request


class TritonPythonModel:
    def initialize(self, arguments: dict[str, str]) -> None:
        parameters = python_backend.model_parameters(arguments)
        self._limits = contract.Limits.from_parameters(parameters)
        self._stage = open_mask_stage(parameters)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._serve(request) for request in requests]

    def _serve(self, request: Any) -> Any:
        try:
            parsed = parse_mask_request(python_backend.read_tensors(request), self._limits)
            return python_backend.answer(self._stage.respond(parsed).tensors())
        except Exception as error:
            return python_backend.failed(failure_of(error))

    def finalize(self) -> None:
        self._stage.close()
