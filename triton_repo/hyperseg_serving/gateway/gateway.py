"""The gateway's process: started behind its own configuration, watched until it listens, drained and stopped."""

import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from hyperseg_runtime.errors import EnvironmentMissingError
from hyperseg_serving.gateway.bootstrap import bootstrap
from hyperseg_serving.gateway.envoy import find_envoy
from hyperseg_serving.gateway.forwarding import Forwarding
from hyperseg_serving.gateway.relay import Relay
from hyperseg_serving.gateway.settings import GatewaySettings
from hyperseg_serving.server.command import Address
from hyperseg_serving.server.log import ServerLog

READY_S = 10.0
DRAIN_S = 5.0
POLL_S = 0.05
RESTART_S = 1.0
SHOWN_CHARACTERS = 1000
LOG_WAIT_S = 2.0
WORKERS = 2
"""Threads; one serves thousands of requests a second, the second keeps a large body from making all others wait."""


class Gateway:
    """In front of the server at `upstream`. Use it as a context manager, around the server's: while the server loads,
    starts again or stops, callers are told so. An Envoy that ends by itself is started again.
    """

    def __init__(
        self,
        forwarding: Forwarding,
        settings: GatewaySettings,
        upstream: Address,
        on_line: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._envoy = find_envoy()
        self._work = tempfile.TemporaryDirectory(prefix="hyperseg-trt-gateway-")  # for us alone: it holds keys
        self._admin = Path(self._work.name) / "admin"
        self._relay = Relay(forwarding, upstream.grpc_port)
        self._config = partial(bootstrap, forwarding, settings, upstream, admin=self._admin)
        self._pass_on = on_line
        self._stopping = threading.Event()
        self._log: ServerLog | None = None
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Raises EnvironmentMissingError where it cannot listen, and says why."""
        self._relay.start()
        try:
            self._start()
            self._wait_until_it_listens()
        except BaseException:
            self.stop()
            raise
        threading.Thread(target=self._keep, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Take no more connections, let requests under way end for a while, and go."""
        self._stopping.set()
        if self._process is not None and self.running:
            self._drain()
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(DRAIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.last_words()
        self._relay.stop()
        self._work.cleanup()

    def last_words(self) -> str:
        text = self._log.text(wait_s=LOG_WAIT_S) if self._log else ""
        return "".join(map(_shortened, text.splitlines(keepends=True)))

    def _start(self) -> None:
        config = Path(self._work.name) / "envoy.json"
        config.write_text(json.dumps(self._config(relay_port=self._relay.port)))
        command = [self._envoy, "--config-path", config, "--concurrency", WORKERS, "--disable-hot-restart"]
        self._process = subprocess.Popen(
            [*map(str, command), "--log-level", "warning"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._log = ServerLog(self._process.stdout, self._on_line)

    def _on_line(self, line: str) -> None:
        self._pass_on(_shortened(line))

    def _keep(self) -> None:
        while self._process is not None:
            status = self._process.wait()
            if self._stopping.wait(RESTART_S):
                return
            self._on_line(f"the gateway ended by itself with status {status} and is started again\n")
            self._start()

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if not self.running:
                raise EnvironmentMissingError(f"the gateway ended while it started:\n{self.last_words()}")
            if self._ask("GET", "/ready").startswith("LIVE"):
                return
            time.sleep(POLL_S)
        raise EnvironmentMissingError(f"the gateway does not listen after {READY_S:.0f} s:\n{self.last_words()}")

    def _drain(self) -> None:
        self._ask("POST", "/drain_listeners?skip_exit&graceful")
        deadline = time.monotonic() + DRAIN_S
        while self.running and self._requests_under_way() and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def _requests_under_way(self) -> int:
        text = self._ask("GET", "/stats?filter=^http\\.(http|grpc)\\.downstream_rq_active$")
        return sum(int(line.rpartition(" ")[2]) for line in text.splitlines())

    def _ask(self, method: str, path: str) -> str:
        """The administration's answer; empty where there is none."""
        connection = _SocketConnection(self._admin)
        try:
            connection.request(method, path)
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()


def _shortened(line: str) -> str:
    """Envoy quotes a configuration that it cannot take, with its keys."""
    return line if len(line) < SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}...\n"


class _SocketConnection(http.client.HTTPConnection):
    """HTTP through a socket in the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("gateway", timeout=READY_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))
