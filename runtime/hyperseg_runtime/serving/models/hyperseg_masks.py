"""Last step of the ensemble: reads the texts and decodes masks from what the image graphs made."""

from typing import Any

from hyperseg_runtime.serving import contract, python_backend
from hyperseg_runtime.serving.opening import open_mask_stage
from hyperseg_runtime.serving.refusals import failure_of


class TritonPythonModel:
    def initialize(self, arguments: dict[str, str]) -> None:
        self._stage = open_mask_stage(python_backend.model_parameters(arguments))

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._serve(request) for request in requests]

    def _serve(self, request: Any) -> Any:
        try:
            tensors = python_backend.read_tensors(request)
            height, width = tensors.pop(contract.SIZE.name)
            texts = [element.decode() for element in tensors.pop(contract.CHECKED_TEXT.name)]
            response = self._stage.respond(tensors, (int(height), int(width)), texts)
            return python_backend.answer(response.tensors())
        except Exception as error:
            return python_backend.failed(failure_of(error))

    def finalize(self) -> None:
        self._stage.close()
