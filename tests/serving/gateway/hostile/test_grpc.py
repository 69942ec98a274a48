"""Hostile messages over gRPC. Those that a comment names end release 24.10 when they reach it (each was tried)."""

from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from gateway_callers import ENSEMBLE, INNER, METADATA, SERVICE, Guarded, called, message
from hyperseg_serving.contract import Limits

pytestmark = pytest.mark.usefixtures("the_next_is_right")


def with_output(**parameters: Any) -> service_pb2.ModelInferRequest:
    request = message()
    output = request.outputs.add(name="RESULT")
    for name, value in parameters.items():
        output.parameters[name].CopyFrom(service_pb2.InferParameter(**value))
    return request


def shared() -> service_pb2.ModelInferRequest:
    request = message()
    request.inputs[0].parameters["shared_memory_region"].string_param = "region"
    return request


def shaped(*shape: int) -> service_pb2.ModelInferRequest:
    request = message()
    del request.inputs[0].shape[:]
    request.inputs[0].shape.extend(shape)
    return request


def typed(datatype: str) -> service_pb2.ModelInferRequest:
    request = message()
    request.inputs[0].datatype = datatype
    return request


def named(name: str) -> service_pb2.ModelInferRequest:
    request = message()
    request.inputs[0].name = name
    return request


def long_text() -> service_pb2.ModelInferRequest:
    request = message()
    request.raw_input_contents[0] = bytes(Limits().max_image_bytes + 2_000_000)
    return request


def lying_text() -> service_pb2.ModelInferRequest:
    request = message()
    request.raw_input_contents[0] = b"\xff\xff\xff\x7fa"
    return request


NOT_SERVED = "no model of this name is served over gRPC here"
GRPC: dict[str, tuple[bytes, str]] = {
    name: (content if isinstance(content, bytes) else content.SerializeToString(), says)
    for name, (content, says) in {
        "classification": (with_output(classification={"int64_param": 2}), "parameters of outputs"),  # SIGFPE
        "an answer to shared memory": (
            with_output(shared_memory_region={"string_param": "a"}),
            "parameters of outputs",
        ),
        "an input in shared memory": (shared(), "parameters of inputs"),
        "the ensemble": (message(ENSEMBLE), NOT_SERVED),  # leaving it: SIGSEGV
        **{f"an inner step, {model}": (message(model), NOT_SERVED) for model in INNER},
        "no model": (message(""), NOT_SERVED),
        "two models": (message().SerializeToString() + message(ENSEMBLE).SerializeToString(), NOT_SERVED),
        "somebody else's video": (named("STREAM"), "no input of this name"),
        "an unknown input": (named("OTHER"), "no input of this name"),
        "a shape of 2 ** 40": (shaped(1 << 40), "TEXT"),
        "a shape below zero": (shaped(-5), "TEXT"),
        "a shape of no size": (shaped(0), "TEXT"),
        "a shape of many sizes": (shaped(*[1] * 1000), "TEXT"),
        "another type": (typed("FP64"), "TEXT"),
        "an unknown type": (typed("\N{SNOWMAN}"), "TEXT"),
        "a text that lies about its length": (lying_text(), "TEXT"),
        "above the limit": (long_text(), "is above"),
        "no message": (b"\xff" * 40, "malformed"),
        "half a message": (message().SerializeToString()[:-1], "malformed"),
        "a field of 2 ** 60 bytes": (b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x10", "malformed"),
        "a group": (b"\x0b\x0c" + message().SerializeToString(), "malformed"),
        "an empty message": (b"", NOT_SERVED),
    }.items()
}


@pytest.mark.parametrize("name", GRPC)
@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
def test_grpc(name: str, stream: bool, guarded: Guarded) -> None:
    """A stream says why inside itself, a call by its status."""
    content, says = GRPC[name]
    status, text = called(guarded, "ModelStreamInfer" if stream else "ModelInfer", content, stream)
    assert stream or status != "OK"
    assert "RESULT" not in text and "Traceback" not in text
    if stream or "decoupled" not in text:  # which the server says first of a plain call to the public model
        assert says in text


CLOSED_CALLS = (
    "ModelConfig", "ModelStatistics", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "TraceSetting",
    "LogSettings", "SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "CudaSharedMemoryRegister", "Other",
)  # fmt: skip


@pytest.mark.parametrize("call", CLOSED_CALLS)
def test_calls_that_are_closed(call: str, guarded: Guarded) -> None:
    with_admin_key = (*METADATA, ("triton-grpc-protocol-admin-key", "a"))
    status, text = called(guarded, call, b"", metadata=with_admin_key)
    assert status == "StatusCode.UNIMPLEMENTED" and "E_ROUTE" in text


def test_a_bomb_in_a_message(guarded: Guarded) -> None:
    """0.3 MB that release 24.10 unpacks to 300 MB."""
    big = message()
    big.raw_input_contents[0] = bytes(15_000_000)
    before = guarded.server.memory_info().rss
    status, text = called(guarded, "ModelInfer", big.SerializeToString(), compression=grpc.Compression.Gzip)
    assert status == "StatusCode.NOT_FOUND" and "compressed" in text
    assert guarded.server.memory_info().rss - before < 15_000_000


def test_no_key_over_grpc(guarded: Guarded) -> None:
    for metadata in ((), (("authorization", "Bearer another-key-of-tests"),)):
        status, text = called(guarded, "ModelInfer", message().SerializeToString(), metadata=metadata)
        assert status == "StatusCode.UNAUTHENTICATED" and "E_KEY" in text


def test_errors_as_codes_are_not_asked_for(guarded: Guarded) -> None:
    """The header ends release 24.10 after the first error, by a segmentation fault."""
    for _ in range(3):
        metadata = (*METADATA, ("triton_grpc_error", "true"))
        _, text = called(guarded, "ModelStreamInfer", shaped(0).SerializeToString(), True, metadata=metadata)
        assert "TEXT" in text


def test_a_stream_lives_on_after_a_refusal(guarded: Guarded, coffee_bytes: bytes) -> None:
    """Refused, honest, refused, in one stream and with the id that the caller gave."""
    honest = message(id="honest", raw_input_contents=[coffee_bytes])
    honest.inputs.add(name="IMAGE", datatype="UINT8", shape=[len(coffee_bytes)])
    asked = [message(ENSEMBLE, id="first"), honest, message(ENSEMBLE, id="last")]
    with grpc.insecure_channel(guarded.grpc) as channel:
        stub = channel.stream_stream(
            f"{SERVICE}/ModelStreamInfer",
            service_pb2.ModelInferRequest.SerializeToString,
            service_pb2.ModelStreamInferResponse.FromString,
        )
        answers = {answer.infer_response.id: answer for answer in stub(iter(asked), metadata=METADATA, timeout=20)}
    assert NOT_SERVED in answers["first"].error_message and NOT_SERVED in answers["last"].error_message
    assert [output.name for output in answers["honest"].infer_response.outputs] == ["RESULT"]
