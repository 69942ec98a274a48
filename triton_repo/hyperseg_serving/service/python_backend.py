"""Between the server's Python backend and ours. Importable only inside the server."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from hyperseg_runtime.backends.base import Backend, Buffer
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_serving.contract import stage_name
from hyperseg_serving.refusals import Failure, Reason, RefusalError, refusal_of
from hyperseg_serving.service.requests import Tensors
from hyperseg_serving.service.staged import HostTensor


def model_parameters(arguments: Mapping[str, str]) -> dict[str, str]:
    """The `parameters` of a served model's configuration."""
    config = json.loads(arguments["model_config"])
    return {name: entry["string_value"] for name, entry in config["parameters"].items()}


def read_tensors(request: Any) -> dict[str, np.ndarray]:
    """A request's inputs on the host. Raises RefusalError for bytes that are not what they say."""
    try:
        return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
    except Exception as error:  # the library raises plain exceptions for malformed BYTES
        raise RefusalError(Reason.REQUEST, "an input's bytes do not fit its type and shape") from error


def answer(tensors: Tensors) -> Any:
    """A response with these outputs."""
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in tensors.items()])


def failed(failure: Failure) -> Any:
    """A response that says why there is no other."""
    code = getattr(pb_utils.TritonError, failure.code)
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(failure), code))


def ask_model(
    model: str, inputs: Sequence[Any], outputs: Sequence[str], timeout_us: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """Outputs of every response of another model of this server. Raises what the model refused.

    `timeout_us` is the longest wait in that model's queue; 0 leaves it to the model.
    """
    call = pb_utils.InferenceRequest(
        model_name=model,
        inputs=list(inputs),
        requested_output_names=list(outputs),
        timeout=timeout_us,
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
    )
    for response in call.exec(decoupled=True):
        if response.has_error():
            raise refusal_of(response.error().message())
        if response.output_tensors():  # the last one of a stream only says that it is the last
            # Copied: the arrays lie in memory that is the response's.
            yield {tensor.name(): np.array(tensor.as_numpy()) for tensor in response.output_tensors()}


class StageCalls:
    """Runs image graphs as models of this server. While `rehearsing` they answer zeros and nothing is called:
    other models cannot be asked before this one is ready.

    `between` names what only these graphs hand each other: it stays on the host.
    """

    def __init__(self, backend: Backend, between: Collection[str]) -> None:
        self._backend = backend
        self._between = between
        self.rehearsing = True

    def __call__(self, spec: GraphSpec, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        if self.rehearsing:
            return {tensor.name: self._backend.zeros(tensor, {"batch": 1}) for tensor in spec.outputs}
        tensors = [pb_utils.Tensor(name, buffer.to_host()) for name, buffer in inputs.items()]
        (outputs,) = ask_model(stage_name(spec.name), tensors, spec.output_names())
        return {
            name: HostTensor(outputs[name]) if name in self._between else self._backend.upload(outputs[name])
            for name in spec.output_names()
        }
