"""gRPC callers who leave, whose deadline passes, or who are gone: some hundred have ended servers (see the relay)."""

import random
import struct
import time
import urllib.request

import grpc
import pytest
from tritonclient.grpc import service_pb2

from gateway_callers import METADATA, PUBLIC, SERVICE, Guarded

pytestmark = pytest.mark.usefixtures("the_next_is_right")

CANCELLED = 'hyperseg_requests_refused{reason="E_CANCELLED"}'
EXPECTED = (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


def long_question() -> bytes:
    request = service_pb2.ModelInferRequest(model_name=PUBLIC)
    for name, text in (("QUESTION", b"Tell all."), ("OPTIONS", b'{"max_tokens": 250}')):
        request.inputs.add(name=name, datatype="BYTES", shape=[1])
        request.raw_input_contents.append(struct.pack("<I", len(text)) + text)
    return bytes(request.SerializeToString())


def leave(guarded: Guarded, times: int) -> None:
    """After the first piece, at once, somewhen, and by deadlines."""
    chance, question = random.Random(0), long_question()
    with grpc.insecure_channel(guarded.grpc) as channel:
        ask = channel.stream_stream(f"{SERVICE}/ModelStreamInfer")
        for number in range(times):
            timeout_s = chance.uniform(0.005, 0.05) if number % 4 == 3 else None
            call = ask(iter([question]), metadata=METADATA, timeout=timeout_s)
            try:
                if number % 4 == 0:
                    next(call)
                elif number % 4 == 2:
                    time.sleep(chance.uniform(0, 0.03))
                elif number % 4 == 3:
                    list(call)
                call.cancel()
            except grpc.RpcError as error:
                assert error.code() in EXPECTED, error


def cancelled(guarded: Guarded) -> float:
    with urllib.request.urlopen(guarded.up.metrics) as page:
        (line,) = (line for line in page.read().decode().splitlines() if line.startswith(CANCELLED))
    return float(line.rpartition(" ")[2])


def test_whoever_leaves_ends_the_work_and_not_the_server(guarded: Guarded) -> None:
    before = cancelled(guarded)
    leave(guarded, 40)
    end_s = time.monotonic() + 10  # numbers are published every second
    while cancelled(guarded) - before < 20 and time.monotonic() < end_s:
        time.sleep(0.1)
    assert cancelled(guarded) - before >= 20


@pytest.mark.full
def test_thousands_leave(guarded: Guarded) -> None:
    leave(guarded, 3000)
