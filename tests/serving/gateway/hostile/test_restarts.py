"""The server is killed behind its gateway: who waits is told, who comes is told, and it comes back by itself."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway_callers import Guarded
from hyperseg_runtime.errors import ServerError, UnavailableError
from hyperseg_serving.client import client as clients
from hyperseg_serving.client.client import Client
from hyperseg_serving.contract import Options
from serving_support import READY_S, same

CALLERS = 4


def waiting(guarded: Guarded, number: int) -> float:
    """When a caller who asks again and again was told that an answer is lost."""
    url = guarded.up.grpc if number % 2 else guarded.up.http
    with Client(url, family="hyperseg") as client:
        with pytest.raises((ServerError, UnavailableError), match=r"E_LOST|E_BUSY|ended"):
            while True:
                list(client.ask(None, f"Tell all of {number}.", Options(max_tokens=250)))
        return time.monotonic()


def test_a_killed_server(guarded: Guarded, coffee_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "ATTEMPTS", 1)
    before = guarded.server
    with ThreadPoolExecutor(CALLERS) as pool:
        told = [pool.submit(waiting, guarded, number) for number in range(CALLERS)]
        time.sleep(0.5)
        killed_s = time.monotonic()
        before.kill()
        assert max(one.result() for one in told) - killed_s < 5
    begun_s = time.monotonic()
    while True:
        asked_s = time.monotonic()
        try:
            assert same(guarded.client.segment(coffee_bytes, ["the cup"]), guarded.expected)
            break
        except (ServerError, UnavailableError) as error:
            assert "E_BUSY" in str(error) or "E_LOST" in str(error), error
            assert time.monotonic() - asked_s < 5 and time.monotonic() - begun_s < READY_S
            time.sleep(0.1)
    assert guarded.server.pid != before.pid


def test_the_log_says_so(guarded: Guarded) -> None:
    assert "starting it again" in Path(guarded.up.log).read_text()
