"""What the client retries, what it never does, and HTTP without a server library."""

import json
import socket
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest

from hyperseg_runtime.contracts.results import SegmentationResult
from hyperseg_runtime.errors import EnvironmentMissingError, ImageError, InputError, ServerError, UnavailableError
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.client import client as clients
from hyperseg_serving.client.client import Client, encoded, results_of
from hyperseg_serving.contract import Limits, StreamStep
from hyperseg_serving.service.requests import Request, open_image
from hyperseg_serving.service.responses import Response, masks_response


class Scripted:
    """A transport that plays a list: an error is raised, a response yielded, each ask takes the next entry."""

    def __init__(self, *asks: list[Response | Exception]) -> None:
        self.asks = list(asks)
        self.count = 0

    def ask(self, request: Request, timeout_s: float) -> Generator[Response, None, None]:
        self.count += 1
        for step in self.asks.pop(0):
            if isinstance(step, Exception):
                raise step
            yield step

    def close(self) -> None: ...


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    transport = Scripted()
    monkeypatch.setattr(clients, "open_transport", lambda url: transport)
    monkeypatch.setattr(clients.time, "sleep", lambda seconds: None)
    return transport


BUSY = UnavailableError("no room")
PIECE, DONE = Response(piece="a"), Response(result={"results": []})


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
        list(Client("any").respond(Request(b"", ("a",), stream=StreamStep(id="one", start=True))))
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


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://a:1", "http://", "grpc:8001"])
def test_addresses(url: str) -> None:
    with pytest.raises(InputError, match="is no address"):
        Client(url)


def test_grpc_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("no", name="tritonclient")

    monkeypatch.setattr(clients, "import_module", missing)
    with pytest.raises(EnvironmentMissingError, match=r"hyperseg-trt\[triton\]"):
        Client("grpc://127.0.0.1:1")


def test_results_come_back_as_they_were(pipeline: Pipeline, coffee_bytes: bytes) -> None:
    result = pipeline(open_image(coffee_bytes, Limits()), "the cup")
    (back,) = results_of(masks_response([result], {}))
    assert isinstance(back, SegmentationResult)
    assert np.array_equal(back.masks, result.masks)
    assert back.to_json() == result.to_json()


def test_images_in_all_forms(coffee_bytes: bytes, tmp_path: Any) -> None:
    pixels = open_image(coffee_bytes, Limits())
    (tmp_path / "a.jpg").write_bytes(coffee_bytes)
    assert encoded(coffee_bytes) == encoded(tmp_path / "a.jpg") == coffee_bytes
    assert np.array_equal(open_image(encoded(pixels), Limits()), pixels)
    with pytest.raises(ImageError, match="No such file"):
        encoded(tmp_path / "none.jpg")


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that always says the same."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.server.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))  # type: ignore[attr-defined]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
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
        Client(url).segment(b"file", ["a"])


def test_http_streams_pieces() -> None:
    body = b'data: {"PIECE":"a "}\n\ndata: {"PIECE":"dog"}\n\ndata: {"RESULT":"{\\"results\\": []}"}\n\n'
    with answering(200, body) as url, Client(url) as client:
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
        with Client(url) as client, pytest.raises(ServerError, match="connection was lost"):
            client.segment(b"file", ["a"])
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert len(taken) == 1 or scheme == "grpc"  # gRPC connects again by itself; it sends nothing twice


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "ATTEMPTS", 1)
    with answering(200, b"") as url:
        pass
    with pytest.raises(UnavailableError):
        Client(url).segment(b"file", ["a"])


def test_videos_need_grpc() -> None:
    with pytest.raises(InputError, match="grpc"):
        Client("http://127.0.0.1:1").open_video("a")
