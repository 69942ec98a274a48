"""What becomes of a server that breaks, and of one that is to stop: on servers that do what a list says."""

from pathlib import Path
from typing import Any, Self

import pytest

from hyperseg_runtime.errors import ServerError
from hyperseg_serving.contract import Profile
from hyperseg_serving.server import supervisor as supervisors
from hyperseg_serving.server.command import Address, ServerSettings
from hyperseg_serving.server.supervisor import Restarts, Supervisor

BREAKS, INTERRUPTED = "the process of a ended", KeyboardInterrupt()


class ScriptedServer:
    """Each start takes the next entry: what `why_broken` says or raises."""

    script: list[Any]
    log: list[str]
    drained = True

    def __init__(self, distribution: object, settings: ServerSettings) -> None:
        self.address = settings.address
        self.what = self.script.pop(0)

    def wait_until_ready(self, timeout_s: float) -> float:
        return 1.0

    def why_broken(self) -> str:
        if isinstance(self.what, BaseException):
            raise self.what
        return str(self.what)

    def last_words(self) -> str:
        return "last words"

    def drain(self, timeout_s: float) -> bool:
        self.log.append(f"drain {timeout_s:g}")
        if isinstance(self.drained, BaseException):
            raise self.drained
        return self.drained

    def stop(self, within_s: float) -> None:
        self.log.append("stop")

    def kill(self) -> None:
        self.log.append("kill")

    def __enter__(self) -> Self:
        self.log.append(f"start at {self.address.http_port}")
        return self

    def __exit__(self, *error: object) -> None: ...


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Supervisor:
    monkeypatch.setattr(supervisors, "Server", ScriptedServer)
    ScriptedServer.log, ScriptedServer.drained = [], True
    settings = ServerSettings(tmp_path, tmp_path, Profile.CPU, Address(7, 8, 9), drain_s=3)
    log = ScriptedServer.log
    return Supervisor(None, settings, 10, 2, lambda server, s: log.append("ready"), log.append)  # type: ignore[arg-type]


def test_a_server_that_breaks_is_started_again_where_it_was(supervised: Supervisor) -> None:
    ScriptedServer.script = [BREAKS, INTERRUPTED]
    supervised.run()
    assert ScriptedServer.log[:2] == ["start at 7", "ready"]
    assert ScriptedServer.log[2:6] == ["kill", f"{BREAKS}; starting it again", "start at 7", "ready"]


def test_one_that_breaks_too_often_is_not(supervised: Supervisor) -> None:
    ScriptedServer.script = [BREAKS] * 3
    with pytest.raises(ServerError, match=r"once too often(.|\n)*last words"):
        supervised.run()
    assert ScriptedServer.log.count("ready") == 3


def test_stopping_drains_first(supervised: Supervisor) -> None:
    ScriptedServer.script = [INTERRUPTED]
    supervised.run()
    assert ScriptedServer.log[-2:] == ["drain 3", "stop"]


def test_a_second_interrupt_does_not_wait(supervised: Supervisor) -> None:
    ScriptedServer.script, ScriptedServer.drained = [INTERRUPTED], KeyboardInterrupt()  # type: ignore[assignment]
    supervised.run()
    assert ScriptedServer.log[-2:] == ["drain 3", "kill"]


def test_restarts_are_counted_over_ten_minutes() -> None:
    now_s = 0.0
    restarts = Restarts(2, lambda: now_s)
    assert [restarts.one_more() for _ in range(3)] == [True, True, False]
    now_s = 601.0
    assert restarts.one_more()
