"""The public model: image and text in, masks and answers out. It owns language model, caches and mask decoder."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import triton_python_backend_utils as pb_utils

from hyperseg_serving import contract
from hyperseg_serving.refusals import failure_of
from hyperseg_serving.service import python_backend
from hyperseg_serving.service.metrics import Metrics
from hyperseg_serving.service.opening import open_service
from hyperseg_serving.service.requests import parse_request

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    def initialize(self, arguments: dict[str, str]) -> None:
        parameters = python_backend.model_parameters(arguments)
        self._limits = contract.Limits.from_parameters(parameters)
        self._service = open_service(parameters, self._limits, python_backend.StageCalls)
        self._metrics = Metrics(pb_utils)
        self._idle = threading.Semaphore(self._limits.workers)
        self._workers = ThreadPoolExecutor(self._limits.workers)

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            self._idle.acquire()  # while all are busy, requests wait in the server's queue, which is bounded
            self._workers.submit(self._serve, request)

    def _serve(self, request: Any) -> None:
        sender = request.get_response_sender()
        try:
            self._respond(request, sender)
        except Exception as error:
            failure = failure_of(error)
            self._metrics.refused(failure.reason)
            sender.send(python_backend.failed(failure), flags=FINAL)
        finally:
            self._idle.release()

    def _respond(self, request: Any, sender: Any) -> None:
        parsed = parse_request(python_backend.read_tensors(request), self._limits)
        for response in self._service.respond(parsed, request.is_cancelled):
            flags = 0 if response.result is None else FINAL
            sender.send(python_backend.answer(response.tensors()), flags=flags)
            self._metrics.served(response, len(self._service.streams))

    def finalize(self) -> None:
        self._workers.shutdown()
        self._service.close()
