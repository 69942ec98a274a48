"""A server process: started with safe settings, watched until it answers, stopped cleanly."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from hyperseg_runtime.errors import EnvironmentMissingError, HypersegError, InputError
from hyperseg_serving.client.canary import ask_canary
from hyperseg_serving.contract import Limits, Profile
from hyperseg_serving.names import ModelNames, family_in
from hyperseg_serving.server.distribution import Distribution
from hyperseg_serving.server.log import ServerLog, reasons
from hyperseg_serving.service.parameters import BUNDLE_VARIABLE

LOOPBACK = "127.0.0.1"
EXIT_TIMEOUT_S = 5
POLL_S = 0.2
LOG_WAIT_S = 5.0
ADMIN_APIS = "model-repository,model-config,statistics,shared-memory,logging,trace"
"""Not for everybody: they change the server, or tell about it."""
KEY_VARIABLE = "HYPERSEG_ADMIN_KEY"
"""The key of these APIs; a random one unless it is set."""
HTTP_OVERHEAD_BYTES = 1_000_000
PARAMETER = re.compile(r'parameters\s*\{\s*key:\s*"(\w+)"\s*value\s*\{\s*string_value:\s*"([^"]*)"')
"""Of a configuration as text: reading it whole takes protobuf, which a machine that only starts servers may lack."""
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Address:
    """Ports on this machine; 0 takes a free one."""

    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    host: str = LOOPBACK

    def chosen(self) -> "Address":
        http, grpc, metrics = (port or _free_port() for port in (self.http_port, self.grpc_port, self.metrics_port))
        return Address(http, grpc, metrics, self.host)

    @property
    def http_url(self) -> str:
        return f"http://{self.host}:{self.http_port}"

    @property
    def grpc_url(self) -> str:
        return f"grpc://{self.host}:{self.grpc_port}"

    @property
    def metrics_url(self) -> str:
        return f"http://{self.host}:{self.metrics_port}/metrics"

    def urls(self) -> dict[str, str]:
        return {"http": self.http_url, "grpc": self.grpc_url, "metrics": self.metrics_url}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class ServerSettings:
    """`admin_key` opens the APIs that change the server; `environment` goes to the served models."""

    repository: Path
    bundle: Path
    profile: Profile
    address: Address = Address()
    admin_key: str = field(default_factory=lambda: os.environ.get(KEY_VARIABLE) or secrets.token_hex(16), repr=False)
    shared_memory: bool = False
    """Let every caller register shared memory: for callers on the same machine that are all trusted."""
    environment: dict[str, str] = field(default_factory=dict)
    backends: Path | None = None
    """Other backends than the distribution's."""
    on_line: Callable[[str], None] = lambda line: None
    """Is given every line of the server's log."""


def public_config(repository: Path) -> Path:
    """The configuration of the public model. Raises InputError for a folder that is no repository."""
    family = family_in(repository)
    if family is None:
        raise InputError(
            f"{repository}: no model repository; make one with: hyperseg-trt serve init BUNDLE --out REPOSITORY"
        )
    return repository / ModelNames(family).public / "config.pbtxt"


def limits_of(repository: Path) -> Limits:
    """Those that the public model was configured with."""
    return Limits.from_parameters(dict(PARAMETER.findall(public_config(repository).read_text())))


def plugin_libraries(repository: Path) -> list[Path]:
    """What the server's TensorRT backend has to load before engines, each name once (tensorrt_backend, tensorrt.cc:
    semicolons between paths; one that cannot be loaded is only logged).
    """
    found = {path.name: path.resolve() for path in sorted(repository.glob("*/1/*.so"))}
    return list(found.values())


def _check_repository(distribution: Distribution, settings: ServerSettings) -> None:
    """Say what the server would say late and in many lines. Raises InputError."""
    repository = settings.repository
    public_config(repository)
    if settings.profile is Profile.CPU or settings.backends:
        return
    if distribution.is_local:
        raise InputError("the local server has no TensorRT; add --profile cpu, or use NVIDIA's container")
    stages = [path.parent for path in repository.glob("*/config.pbtxt") if "tensorrt_plan" in path.read_text()]
    missing = sorted(folder.name for folder in stages if not (folder / "1" / "model.plan").is_file())
    if missing:
        raise InputError(
            f"{repository}: no engine for {', '.join(missing)}; run hyperseg-trt build BUNDLE and then serve init "
            "again, or add --profile cpu"
        )


class Server:
    """A running server. Use it as a context manager; `wait_until_ready` before the first request."""

    def __init__(self, distribution: Distribution, settings: ServerSettings) -> None:
        if distribution.is_local and settings.address.host != LOOPBACK:
            raise InputError("the local server answers on this machine only; use NVIDIA's container for others")
        _check_repository(distribution, settings)
        self.settings = settings
        self.address = settings.address.chosen()
        self._distribution = distribution
        self._work: tempfile.TemporaryDirectory[str] | None = None
        self._log: ServerLog | None = None
        self._region = f"hyperseg_trt_{os.getpid()}_{secrets.token_hex(4)}_"
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        # Not in a folder that others can write to: the models' Python imports from where it was started.
        self._work = tempfile.TemporaryDirectory(prefix="hyperseg-trt-serve-")
        folder = Path(self._work.name)
        self._process = subprocess.Popen(
            self._command(),
            cwd=folder,
            env=self._environment(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._log = ServerLog(self._process.stdout, self.settings.on_line)

    def wait_until_ready(self, timeout_s: float) -> float:
        """Until a canary request is answered; seconds that took. Raises EnvironmentMissingError and says why."""
        start = time.monotonic()
        while True:
            if self._process is None or self._process.poll() is not None:
                raise EnvironmentMissingError(f"the server ended while it started:\n{self.last_words()}")
            try:
                ask_canary(self.address.http_url, timeout_s=max(1.0, start + timeout_s - time.monotonic()))
                return time.monotonic() - start
            except HypersegError as error:
                if time.monotonic() - start > timeout_s:
                    raise EnvironmentMissingError(
                        f"no answer from the server after {timeout_s:.0f} s ({error}):\n{self.last_words()}"
                    ) from error
            time.sleep(POLL_S)

    def last_words(self) -> str:
        """Why the server ended or does not answer, as far as its log says."""
        ended = self._process is None or self._process.poll() is not None
        return reasons(self._log.text(wait_s=LOG_WAIT_S if ended else 0.0)) if self._log else ""

    def wait(self) -> int:
        """Until the server ends by itself; its exit status."""
        assert self._process is not None
        return self._process.wait()

    def stop(self) -> None:
        """Let running requests end, for a while."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(2 * EXIT_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process is not None:
            with suppress(ProcessLookupError):  # a model's process may outlive a server that ended by force
                os.killpg(self._process.pid, signal.SIGKILL)
        for region in SHARED_MEMORY.glob(f"{self._region}*"):  # what a model left that ended by force
            region.unlink(missing_ok=True)
        if self._log:
            self._log.text(wait_s=LOG_WAIT_S)  # to its end
        if self._work:
            self._work.cleanup()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _command(self) -> list[str]:
        address, settings = self.address, self.settings
        restricted = ADMIN_APIS.replace(",shared-memory", "") if settings.shared_memory else ADMIN_APIS
        command = [
            str(self._distribution.binary),
            f"--model-repository={settings.repository.resolve()}",
            f"--backend-directory={settings.backends or self._distribution.backends}",
            f"--cache-directory={self._distribution.caches}",
            "--model-control-mode=none",
            "--disable-auto-complete-config",
            f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
            f"--http-address={address.host}",
            f"--http-port={address.http_port}",
            f"--grpc-address={address.host}",
            f"--grpc-port={address.grpc_port}",
            f"--metrics-address={address.host}",
            f"--metrics-port={address.metrics_port}",
            f"--http-restricted-api={restricted}:admin-key={settings.admin_key}",
            f"--grpc-restricted-protocol={restricted}:admin-key={settings.admin_key}",
            f"--backend-config=python,shm-region-prefix-name={self._region}",
        ]
        if settings.profile is Profile.GPU and (libraries := plugin_libraries(settings.repository)):
            command.append(f"--backend-config=tensorrt,plugins={';'.join(map(str, libraries))}")
        if settings.profile is not Profile.GPU:
            command.append(f"--model-config-name={settings.profile}")
        if not self._distribution.is_local:  # options of releases after 24.10
            limit = limits_of(settings.repository).max_image_bytes * 4 // 3 + HTTP_OVERHEAD_BYTES
            shared = str(settings.shared_memory).lower()
            command += [f"--http-max-input-size={limit}", f"--allow-client-shm={shared}"]
        return command

    def _environment(self, folder: Path) -> dict[str, str]:
        environment = {**os.environ, BUNDLE_VARIABLE: str(self.settings.bundle.resolve()), **self.settings.environment}
        if self._distribution.library_path:
            paths = [*map(str, self._distribution.library_path), environment.get("LD_LIBRARY_PATH", "")]
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
        if self._distribution.numpy:
            python = _make_python(folder / "python", self._distribution.numpy)
            environment["PATH"] = os.pathsep.join((str(python), environment.get("PATH", "")))
        return environment


def _make_python(home: Path, numpy: Path) -> Path:
    """The `bin` of a Python for the served models that sees `numpy` first, and then what we see.

    The server takes the first python3 on the path and passes over PYTHONPATH.
    """
    venv.create(home, with_pip=False, symlinks=True)
    packages = next(home.glob("lib/python*/site-packages"))
    seen = [path for path in sys.path if path and Path(path).is_dir()]
    (packages / "served.pth").write_text("".join(f"{path}\n" for path in (str(numpy), *seen)))
    return home / "bin"
