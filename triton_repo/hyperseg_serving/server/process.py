"""A server process: started with safe settings, watched until it answers, drained and stopped."""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import venv
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from hyperseg_runtime.errors import EnvironmentMissingError, HypersegError, InputError
from hyperseg_serving.client.canary import ask_canary, ask_live
from hyperseg_serving.server import processes
from hyperseg_serving.server.command import (
    BACKEND_REGION,
    LOOPBACK,
    ServerSettings,
    check_repository,
    known_options,
    server_command,
)
from hyperseg_serving.server.distribution import Distribution
from hyperseg_serving.server.log import ServerLog, reasons
from hyperseg_serving.service.parameters import BUNDLE_VARIABLE, DRAIN_VARIABLE, IDENTITY_VARIABLE

POLL_S = 0.2
LOG_WAIT_S = 5.0
LIVE_S = 2.0
STOP_S = 5.0
"""From SIGTERM to the end of a server in which nothing is under way."""
PRIVATE, PRIVATE_FILE = 0o077, 0o600
"""Nobody else reads what server and models write: the umask, and the mode of what does not keep to it."""
SHARED_MEMORY = Path("/dev/shm")
MODEL_PROCESS = "triton_python_backend_stub"


class Server:
    """A running server. Use it as a context manager; `wait_until_ready` before the first request."""

    def __init__(self, distribution: Distribution, settings: ServerSettings) -> None:
        if distribution.is_local and settings.address.host != LOOPBACK:
            raise InputError("the local server answers on this machine only; use NVIDIA's container for others")
        check_repository(distribution, settings)
        self.settings = settings
        self.address = settings.address.chosen()
        self._distribution = distribution
        self._identity = secrets.token_hex(16)
        self._work: tempfile.TemporaryDirectory[str] | None = None
        self._log: ServerLog | None = None
        self._region = f"{BACKEND_REGION}{os.getpid()}_{secrets.token_hex(4)}_"
        self._process: subprocess.Popen[str] | None = None
        self._models: dict[int, str] = {}
        self._was_ready = False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Raises InputError for a port that is not free."""
        command = self.command()
        self.address.require_free()
        # Not in a folder that others can write to: the models' Python imports from where it was started.
        self._work = tempfile.TemporaryDirectory(prefix="hyperseg-trt-serve-")
        folder = Path(self._work.name)
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=self._environment(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            umask=PRIVATE,
        )
        assert self._process.stdout is not None
        self._log = ServerLog(self._process.stdout, self.settings.on_line)

    def command(self) -> list[str]:
        known = known_options(self._distribution)
        return server_command(self._distribution, self.settings, self.address, self._region, known)

    def wait_until_ready(self, timeout_s: float) -> float:
        """Until this server, and no other, made a mask on every path; seconds that took. Raises EnvironmentMissingError
        and says why.
        """
        start = time.monotonic()
        while True:
            if self.ended:
                raise EnvironmentMissingError(f"the server ended while it started:\n{self.last_words()}")
            try:
                left_s = max(1.0, start + timeout_s - time.monotonic())
                self._require_own(ask_live(self.address.http_url, left_s).get("identity"))
                ask_canary(self.address.http_url, left_s, every_path=True)
                self._models = self._model_processes()
                self._hide_regions()
                self._was_ready = True
                return time.monotonic() - start
            except EnvironmentMissingError:
                raise
            except HypersegError as error:
                if time.monotonic() - start > timeout_s:
                    raise EnvironmentMissingError(
                        f"no answer from the server after {timeout_s:.0f} s ({error}):\n{self.last_words()}"
                    ) from error
            time.sleep(POLL_S)

    def _require_own(self, identity: object) -> None:
        if identity != self._identity:
            raise EnvironmentMissingError(
                f"{self.address.http_url} is answered by another server than the one that was started; end it, or "
                "choose other ports"
            )

    def _hide_regions(self) -> None:
        """The Python backend makes its shared memory readable for every user, whatever the umask (boost's
        `shared_memory_object` sets 0644): callers' images and texts lie there. Models make theirs when they are loaded.
        """
        for region in SHARED_MEMORY.glob(f"{self._region}*"):
            region.chmod(PRIVATE_FILE)

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def why_broken(self) -> str | None:
        """What is gone since the server was ready, in words; None while all of it runs."""
        if self._process is None or self._process.poll() is not None:
            return f"the server ended with status {self._process.returncode if self._process else None}"
        gone = [name for pid, name in self._models.items() if not processes.runs(pid)]
        return f"the process of {', '.join(gone)} ended" if gone else None

    def last_words(self) -> str:
        """Why the server ended or does not answer, as far as its log says."""
        return reasons(self._log.text(wait_s=LOG_WAIT_S if self.ended else 0.0)) if self._log else ""

    def drain(self, timeout_s: float) -> bool:
        """Take no new requests, and wait for those under way; whether none is left."""
        if self._work is None or self.ended or not self._was_ready:
            return True
        (Path(self._work.name) / "drain").touch()
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s and not self.ended:
            with suppress(HypersegError):
                if not ask_live(self.address.http_url, LIVE_S).get("under_way"):
                    return True
            time.sleep(POLL_S)
        return False

    def stop(self, within_s: float | None = None) -> None:
        """End it: SIGTERM, on which the server waits for what it knows to be under way, and after a while force."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S if within_s is None else within_s)
            except subprocess.TimeoutExpired:
                self.kill()
        self._clean_up()

    def kill(self) -> None:
        """End it at once, so that every caller's connection breaks: what waits for a lost process would wait on."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _clean_up(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):  # a model's process may outlive a server that ended by force
                os.killpg(self._process.pid, signal.SIGKILL)
        for region in SHARED_MEMORY.glob(f"{self._region}*"):  # what a model left that ended by force
            region.unlink(missing_ok=True)
        if self._log:
            self._log.text(wait_s=LOG_WAIT_S)  # to its end
        if self._work:
            self._work.cleanup()
            self._work = None

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

    def _model_processes(self) -> dict[int, str]:
        """Model by process id; the backend's process is given its instance's name, MODEL_0_0."""
        found = {}
        for pid, command in processes.children(self.pid).items():
            if command and MODEL_PROCESS in command[0]:
                instance = next((word for word in command if word.endswith("_0_0")), command[0])
                found[pid] = instance.removesuffix("_0_0")
        return found

    def _environment(self, folder: Path) -> dict[str, str]:
        own = {
            BUNDLE_VARIABLE: str(self.settings.bundle.resolve()),
            IDENTITY_VARIABLE: self._identity,
            DRAIN_VARIABLE: str(folder / "drain"),
        }
        environment = self._distribution.with_libraries({**os.environ, **own, **self.settings.environment})
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
