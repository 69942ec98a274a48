"""What the client retries, what it never does, and HTTP without a server library."""

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from hyperseg_runtime.errors import EnvironmentMissingError, ImageError, InputError, ServerError, UnavailableError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import VIDEO
from hyperseg_serving.client import client as clients
from hyperseg_serving.client import http_transport
from hyperseg_serving.client.client import Client, encoded
from hyperseg_serving.contract import LEAST_CANCEL_LETTERS, Limits, StreamStep
from hyperseg_serving.service.requests import Request, open_image
from hyperseg_serving.service.responses import Response

SERVED = list(FAMILIES.values())[-1]
"""A family that is not the first known."""


class Scripted:
    """A transport that plays a list: an error is raised, a response yielded, each ask takes the next entry."""

    def __init__(self, *asks: list[Response | Exception]) -> None:
        self.asks = list(asks)
        self.count = 0
        self.models = {SERVED.name}

    def ask(self, model: str, request: Request, timeout_s: float) -> Generator[Response, None, None]:
        assert model == SERVED.name
        self.count += 1
        for step in self.asks.pop(0):
            if isinstance(step, Exception):
                raise step
            yield step

    def has_model(self, model: str, timeout_s: float) -> bool:
        return model in self.models

    def close(self) -> None: ...


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    transport = Scripted()
    monkeypatch.setattr(clients, "open_transport", lambda url: transport)
    monkeypatch.setattr(clients.time, "sleep", lambda seconds: None)
    return transport


BUSY = UnavailableError("no room")
PIECE, DONE = Response(piece="a"), Response(result={"results": []})


def test_the_server_is_asked_which_family_it_has(scripted: Scripted) -> None:
    assert Client("any").family is SERVED
    scripted.models = {"other"}
    with pytest.raises(ServerError, match=f"known here.*{SERVED.name}"):
        Client("any").segment(b"", ["a"])
    with pytest.raises(InputError, match=f"known are .*{SERVED.name}"):
        Client("any", family="other")


def test_a_server_without_room_is_asked_again(scripted: Scripted) -> None:
    scripted.asks = [[BUSY], [BUSY], [DONE]]
    assert Client("any").segment(b"", ["a"]) == []
    assert scripted.count == 3


def test_patience_ends(scripted: Scripted) -> None:
    scripted.asks = [[BUSY]] * clients.ATTEMPTS
    with pytest.raises(UnavailableError):
        Client("any").segment(b"", ["a"])
    assert scripted.count == clients.ATTEMPTS


@pytest.mark.parametrize("error", [ServerError("x"), InputError("x")])
def test_nothing_else_is_sent_twice(scripted: Scripted, error: Exception) -> None:
    scripted.asks = [[error]]
    with pytest.raises(type(error)):
        Client("any").segment(b"", ["a"])
    assert scripted.count == 1


def test_a_frame_of_a_video_is_not_sent_twice(scripted: Scripted) -> None:
    scripted.asks = [[BUSY]]
    with pytest.raises(UnavailableError):
        list(Client("any").respond(Request(b"", ("a",), stream=StreamStep(start=True))))
    assert scripted.count == 1


def test_an_answer_that_has_begun_is_not_asked_for_again(scripted: Scripted) -> None:
    scripted.asks = [[PIECE, BUSY]]
    with pytest.raises(UnavailableError):
        list(Client("any").ask(None, "a?"))
    assert scripted.count == 1


def test_an_answer_without_a_result(scripted: Scripted) -> None:
    scripted.asks = [[], [PIECE]]
    for _ in range(2):
        with pytest.raises(ServerError, match="without a result"):
            Client("any").segment(b"", ["a"])


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://a:1", "http://", "grpc:8001", "grpc://host:70000"])
def test_addresses(url: str) -> None:
    with pytest.raises(InputError, match="is no address"):
        Client(url)


def test_grpc_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("no", name="tritonclient")

    monkeypatch.setattr(clients, "import_module", missing)
    with pytest.raises(EnvironmentMissingError, match=r"hyperseg-trt\[triton\]"):
        Client("grpc://127.0.0.1:1")


def test_images_in_all_forms(coffee_bytes: bytes, tmp_path: Any) -> None:
    pixels = open_image(coffee_bytes, Limits())
    (tmp_path / "a.jpg").write_bytes(coffee_bytes)
    assert encoded(coffee_bytes) == encoded(tmp_path / "a.jpg") == coffee_bytes
    assert np.array_equal(open_image(encoded(pixels), Limits()), pixels)
    with pytest.raises(ImageError, match="No such file"):
        encoded(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="uint8 array"):
        encoded(pixels.astype(np.float32) / 255)
    assert np.array_equal(open_image(encoded(pixels[:, :, 0]), Limits())[:, :, 1], pixels[:, :, 0])


ASKED: list[Any] = []
"""What was sent to the servers of `answering`."""


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that always says the same."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            ASKED.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, b'data: {"error":"E_IMAGE: not an image"}\n\n', ImageError),
        (400, b'data: {"error":"Stub process is not healthy"}\n\n', ServerError),
        (400, b'{"error":"unexpected datatype"}', InputError),
        (404, b'{"error":"unknown model"}', InputError),
        (503, b'{"error":"Exceeds maximum queue size"}', UnavailableError),
        (503, b'{"error":"The proxy is tired"}', ServerError),
        (502, b"<html>proxy</html>", ServerError),
        (299, b"{}", ServerError),
        (200, b'data: {"error":"E_TIMEOUT: late"}\n\n', ServerError),
        (200, b"", ServerError),
        (200, b"data: nonsense\n\n", ServerError),
    ],
)
def test_what_http_servers_say(status: int, body: bytes, error: type[Exception], monkeypatch: Any) -> None:
    monkeypatch.setattr(clients, "ATTEMPTS", 1)
    with answering(status, body) as url, pytest.raises(error):
        Client(url, family=SERVED.name).segment(b"file", ["a"])


def test_http_streams_pieces() -> None:
    body = b'data: {"PIECE":"a "}\n\ndata: {"PIECE":"dog"}\n\ndata: {"RESULT":"{\\"results\\": []}"}\n\n'
    with answering(200, body) as url, Client(url, family=SERVED.name) as client:
        assert list(client.ask(b"file", "what?")) == ["a ", "dog"]


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_connection_that_is_lost_is_not_tried_again(scheme: str) -> None:
    """The other end takes the request and hangs up."""
    taken = list[bytes]()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    taken.append(connection.recv(10))
                    if scheme == "grpc":
                        connection.sendall(b"\0\0\0\4\0\0\0\0\0")  # HTTP/2's first word: connected
                        time.sleep(0.3)

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
        with Client(url, family=SERVED.name) as client, pytest.raises(ServerError, match="connection was lost"):
            client.segment(b"file", ["a"])
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert len(taken) == 1 or scheme == "grpc"  # gRPC connects again by itself; it sends nothing twice


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_there(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said in the same words, and never by a proxy: that reaches nothing of this machine."""
    monkeypatch.setattr(clients, "ATTEMPTS", 1)
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:1")
    with answering(200, b"") as url:
        pass
    with (
        Client(url.replace("http", scheme), family=SERVED.name) as client,
        pytest.raises(UnavailableError, match=r"no answer.*(refused|failed to connect)") as refusal,
    ):
        client.segment(b"file", ["a"])
    assert "proxy" not in str(refusal.value)


def test_an_answer_that_is_left_is_ended_over_http() -> None:
    """The server does not notice that the caller went: it is told, by the id that the request had."""
    body = b'data: {"PIECE":"a "}\n\ndata: {"PIECE":"dog"}\n\n'
    with answering(200, body) as url, Client(url, family=SERVED.name) as client:
        pieces = client.ask(b"file", "what?")
        assert next(pieces) == "a "
        pieces.close()
        begun, ended = ASKED[-2:]
    assert len(begun["id"]) >= LEAST_CANCEL_LETTERS and ended["CANCEL"] == [begun["id"]]


class Stalling(BaseHTTPRequestHandler):
    """Answers CANCEL, and nothing else."""

    over: threading.Event
    on_request: Callable[[], object]
    answers_cancel = True

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ASKED.append(asked)
        if "CANCEL" not in asked:
            self.on_request()
        if "CANCEL" not in asked or not self.answers_cancel:
            self.over.wait()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None: ...


@contextmanager
def stalling(on_request: Callable[[], object] = lambda: None, answers_cancel: bool = True) -> Iterator[Client]:
    """A client of a server that takes requests and says nothing; `on_request` is called when one has come."""
    over = threading.Event()
    told = {"over": over, "on_request": staticmethod(on_request), "answers_cancel": answers_cancel}
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Told", (Stalling,), told)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with Client(f"http://127.0.0.1:{server.server_port}", timeout_s=0.2, family=SERVED.name) as client:
                yield client
        finally:
            over.set()
            server.shutdown()
            thread.join()


def test_an_answer_that_is_late_is_ended_over_http() -> None:
    with stalling() as client, pytest.raises(ServerError, match=r"no answer within 0\.2 s"):
        client.segment(b"file", ["a"])
    begun, ended = ASKED[-2:]
    assert ended["CANCEL"] == [begun["id"]]


def test_a_wait_that_is_interrupted_is_ended_over_http() -> None:
    """By Ctrl-C, which breaks into the read of the socket."""
    main = threading.main_thread().ident
    assert main is not None
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stalling(lambda: signal.pthread_kill(main, signal.SIGINT)) as client, pytest.raises(KeyboardInterrupt):
            client.segment(b"file", ["a"])
    finally:
        signal.signal(signal.SIGINT, before)
    begun, ended = ASKED[-2:]
    assert ended["CANCEL"] == [begun["id"]]


def test_why_a_wait_ended_is_told_though_nobody_takes_the_cancelling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_transport, "CANCEL_S", 0.1)
    with stalling(answers_cancel=False) as client, pytest.raises(ServerError, match=r"no answer within 0\.2 s"):
        client.segment(b"file", ["a"])
    assert "CANCEL" in ASKED[-1]


def test_videos_need_grpc() -> None:
    with pytest.raises(InputError, match="grpc"):
        Client("http://127.0.0.1:1").open_video()


def test_a_family_that_sees_no_videos_says_so() -> None:
    blind = next(family for family in FAMILIES.values() if VIDEO in family.lacks)
    with Client("grpc://127.0.0.1:1", family=blind.name) as client, pytest.raises(InputError) as refusal:
        client.open_video()
    assert blind.lacks[VIDEO] in str(refusal.value)
