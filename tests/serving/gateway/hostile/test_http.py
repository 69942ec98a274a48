"""Hostile requests over HTTP. Those that a comment names end release 24.10 when they reach it (each was tried)."""

import gzip
import http.client
import json
import socket
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from gateway_callers import ENSEMBLE, INNER, KEY, PUBLIC, Guarded

pytestmark = pytest.mark.usefixtures("the_next_is_right")
BRACKETS = "[" * 200_000


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
