"""Between the server's Python backend and ours. Importable only inside the server."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from hyperseg_runtime.backends.base import Backend, Buffer
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_serving.contract import CALL_HEADER
from hyperseg_serving.names import ModelNames
from hyperseg_serving.refusals import Failure, Reason, RefusalError, refusal_of
from hyperseg_serving.service.byte_tensors import read_elements, require_read
from hyperseg_serving.service.requests import Tensors
from hyperseg_serving.service.responses import Response
from hyperseg_serving.service.staged import HostTensor

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


def bound_elements(most: int) -> None:
    """Let this process read at most `most` elements of a BYTES tensor.

    The Python backend (24.10 to 26.05, `PbTensor` in src/pb_tensor.cc) unpacks every BYTES input with
    `triton_python_backend_utils.deserialize_bytes_tensor` before the model sees the request: 27 MB of empty texts take
    3 s in which nobody else is served. It looks the function up for each tensor, so that ours, which gives the same
    for all that is within the bound, can take its place. Unnecessary once the backend unpacks in `as_numpy`.
    """
    pb_utils.deserialize_bytes_tensor = partial(read_elements, most=most)


def read_tensors(request: Any) -> dict[str, np.ndarray]:
    """A request's inputs on the host. Raises RefusalError for bytes that are not what they say."""
    try:
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
    except Exception as error:  # the library raises plain exceptions for what it cannot read
        raise RefusalError(Reason.REQUEST, "an input's bytes do not fit its type and shape") from error
    require_read(tensors)
    return tensors


NAME_HEADERS = ("x-request-id", "traceparent")
"""Headers that name a request, if the request itself has no id; `serve up` lets the server pass them on."""
LONGEST_NAME = 100


def name_of(request: Any) -> str:
    """What the caller calls the request, fit for a line of a log."""
    given = parameters_of(request)
    name = request.request_id() or next((str(given[header]) for header in NAME_HEADERS if header in given), "")
    return "".join(letter for letter in name[:LONGEST_NAME] if letter.isprintable())


def parameters_of(request: Any) -> dict[str, Any]:
    """With the headers that the server passes on. Nothing of requests from the server's own queues."""
    found = json.loads(request.parameters() or "{}") if callable(getattr(request, "parameters", None)) else {}
    return found if isinstance(found, dict) else {}


class StreamedCaller:
    """A request to a decoupled model, and the way back (a `desk.Caller`)."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._sender = request.get_response_sender()
        self.name = name_of(request)
        self.call = str(parameters_of(request).get(CALL_HEADER, ""))

    def tensors(self) -> Tensors:
        return read_tensors(self._request)

    def cancelled(self) -> bool:
        return bool(self._request.is_cancelled())

    def send(self, response: Response, last: bool) -> None:
        self._sender.send(answer(response.tensors()), flags=FINAL if last else 0)

    def refuse(self, failure: Failure) -> None:
        self._sender.send(failed(failure), flags=FINAL)


def answer(tensors: Tensors) -> Any:
    """A response with these outputs."""
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in tensors.items()])


def failed(failure: Failure) -> Any:
    """A response that says why there is no other."""
    code = getattr(pb_utils.TritonError, failure.code)
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(failure), code))


def ask_model(
    model: str, inputs: Sequence[Any], outputs: Sequence[str], timeout_us: int = 0, name: str = ""
) -> Iterator[dict[str, np.ndarray]]:
    """Outputs of every response of another model of this server. Raises what the model refused.

    `timeout_us` is the longest wait in that model's queue; 0 leaves it to the model. `name` is the request's own.
    """
    call = pb_utils.InferenceRequest(
        model_name=model,
        inputs=list(inputs),
        requested_output_names=list(outputs),
        timeout=timeout_us,
        request_id=name,
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
    )
    for response in call.exec(decoupled=True):
        if response.has_error():
            raise refusal_of(response.error().message())
        if response.output_tensors():  # the last one of a stream only says that it is the last
            # Copied: the arrays lie in memory that is the response's.
            yield {tensor.name(): np.array(tensor.as_numpy()) for tensor in response.output_tensors()}


class StageCalls:
    """Runs image graphs as models of this server. While `warming_up` they answer zeros and nothing is called:
    other models cannot be asked before this one is ready.

    `internal` names the tensors that only these graphs hand each other: they stay on the host.
    """

    def __init__(self, names: ModelNames, backend: Backend, internal: Collection[str]) -> None:
        self._names = names
        self._backend = backend
        self._internal = internal
        self.warming_up = True

    def __call__(self, spec: GraphSpec, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        if self.warming_up:
            sizes = spec.sizes(inputs)
            return {tensor.name: self._backend.zeros(tensor, sizes) for tensor in spec.outputs}
        tensors = [pb_utils.Tensor(name, buffer.to_host()) for name, buffer in inputs.items()]
        (outputs,) = ask_model(self._names.stage(spec.name), tensors, spec.output_names())
        return {
            name: HostTensor(outputs[name]) if name in self._internal else self._backend.upload(outputs[name])
            for name in spec.output_names()
        }
