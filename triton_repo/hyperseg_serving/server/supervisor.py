"""Keeps a server running: starts it again when it or one of its models ended, and drains it when it is to stop."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from hyperseg_runtime.errors import ServerError
from hyperseg_serving.server.command import ServerSettings
from hyperseg_serving.server.distribution import Distribution
from hyperseg_serving.server.process import STOP_S, Server

LOOK_S = 0.5
WITHIN_S = 600.0


@dataclass
class Restarts:
    """At most `most` within ten minutes: what ends again and again has to be looked at."""

    most: int
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._at_s: deque[float] = deque()

    def one_more(self) -> bool:
        """Whether there may be one now; it counts."""
        while self._at_s and self._at_s[0] < self.clock() - WITHIN_S:
            self._at_s.popleft()
        self._at_s.append(self.clock())
        return len(self._at_s) <= self.most


class Supervisor:
    """`on_ready` is told the server and the seconds it took, each time it is ready; `say` is told what happens."""

    def __init__(
        self,
        distribution: Distribution,
        settings: ServerSettings,
        ready_s: float,
        restarts: int,
        on_ready: Callable[[Server, float], None],
        say: Callable[[str], None],
    ) -> None:
        self._distribution = distribution
        self._settings = settings
        self._ready_s = ready_s
        self._restarts = Restarts(restarts)
        self._on_ready = on_ready
        self._say = say

    def run(self) -> None:
        """Until KeyboardInterrupt, which drains the server; a second one stops it at once.

        Raises EnvironmentMissingError where the server does not come up, ServerError where it ended too often.
        """
        settings = self._settings
        while True:
            with Server(self._distribution, settings) as server:
                try:
                    self._on_ready(server, server.wait_until_ready(self._ready_s))
                    why = _watched(server)
                except KeyboardInterrupt:
                    self._drain(server)
                    return
                server.kill()  # callers who wait learn it now
                words = server.last_words()
                settings = _at(settings, server)
            if not self._restarts.one_more():
                raise ServerError(f"{why}, once too often within {WITHIN_S / 60:.0f} minutes:\n{words}")
            self._say(f"{why}; starting it again")

    def _drain(self, server: Server) -> None:
        self._say(f"stopping: what is under way has {self._settings.drain_s:g} s; Ctrl-C again does not wait for it")
        end_s = time.monotonic() + self._settings.drain_s
        try:
            if not server.drain(self._settings.drain_s):
                self._say("not everything was answered in time")
            server.stop(max(STOP_S, end_s - time.monotonic()))
        except KeyboardInterrupt:
            server.kill()


def _watched(server: Server) -> str:
    """Why the server is not whole any more, as soon as it is not."""
    while True:
        why = server.why_broken()
        if why:
            return why
        time.sleep(LOOK_S)


def _at(settings: ServerSettings, server: Server) -> ServerSettings:
    """The same with the ports that were chosen: callers know them."""
    return replace(settings, address=server.address)
