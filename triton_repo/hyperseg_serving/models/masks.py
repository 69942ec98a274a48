"""Last step of the ensemble: reads the texts and decodes masks from what the image graphs made."""

from typing import Any

from hyperseg_serving import contract
from hyperseg_serving.refusals import failure_of
from hyperseg_serving.service import python_backend
from hyperseg_serving.service.budget import Budget
from hyperseg_serving.service.cost import require_light
from hyperseg_serving.service.opening import open_mask_stage
from hyperseg_serving.service.parameters import model_parameters
from hyperseg_serving.service.requests import parse_mask_request


class TritonPythonModel:
    def initialize(self, arguments: dict[str, str]) -> None:
        parameters = model_parameters(arguments)
        self._limits = contract.Limits.from_parameters(parameters)
        python_backend.bound_elements(self._limits.max_elements)
        self._stage = open_mask_stage(parameters)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._serve(request) for request in requests]

    def _serve(self, request: Any) -> Any:
        try:
            parsed = parse_mask_request(python_backend.read_tensors(request), self._limits)
            require_light(parsed.size_hw, len(parsed.texts), self._limits)
            budget = Budget(request.is_cancelled, self._limits.max_request_ms)
            return python_backend.answer(self._stage.respond(parsed, budget).tensors())
        except Exception as error:
            return python_backend.failed(failure_of(error, python_backend.name_of(request)))

    def finalize(self) -> None:
        self._stage.close()
