"""The last for this server: a model of it is lost and comes back, and it is stopped."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from hyperseg_runtime.errors import ServerError, UnavailableError
from hyperseg_serving.client.canary import ask_canary, ask_live
from hyperseg_serving.client.client import Client
from hyperseg_serving.contract import Options
from hyperseg_serving.server.trial import ServeUp
from hyperseg_serving.service.requests import Request
from serving_support import READY_S


def stub(served: ServeUp, model: str) -> psutil.Process:
    """The process of a model."""
    (found,) = (p for p in psutil.Process(served.process.pid).children(recursive=True) if f"{model}_0_0" in _words(p))
    return found


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@pytest.mark.slow
def test_a_lost_model_is_told_to_who_waits_and_comes_back(served: ServeUp, coffee_bytes: bytes) -> None:
    """Killed while an answer is under way. The server alone would never answer, and call itself ready."""
    before = ask_live(served.http, 2)["identity"]
    with Client(served.grpc) as client:
        answer = client.ask(None, "Tell all.", Options(max_tokens=250))
        next(answer)
        stub(served, "hyperseg").kill()
        start = time.monotonic()
        with pytest.raises((ServerError, UnavailableError)):
            list(answer)
        assert time.monotonic() - start < 5
    while True:
        try:
            assert ask_live(served.http, 2)["identity"] != before
            ask_canary(served.http, 10, every_path=True)
            break
        except (ServerError, UnavailableError):
            assert time.monotonic() - start < READY_S
            time.sleep(0.2)
    assert "the process of hyperseg ended; starting it again" in served.log.read_text()
    with Client(served.grpc) as client:
        assert len(client.segment(coffee_bytes, ["a"])) == 1


@pytest.mark.slow
def test_stopping_answers_what_is_under_way(served: ServeUp, coffee_bytes: bytes) -> None:
    """Last: the server is gone afterwards."""
    callers = 8  # some at work, the others in line
    connected = threading.Barrier(callers, timeout=30)

    def read(number: int) -> tuple[int, str]:
        with Client(served.grpc) as client:
            list(client.respond(Request(question="A question?", options=Options(max_tokens=1))))
            connected.wait()
            *pieces, last = client.respond(Request(question=f"Question {number}?", options=Options(max_tokens=250)))
            assert last.result is not None
            return len(pieces), last.result["answer"]["finish"]

    with ThreadPoolExecutor(callers) as pool, Client(served.grpc) as other:
        asked = [pool.submit(read, number) for number in range(callers)]
        while not any(work.done() for work in asked) and ask_live(served.http, 2)["under_way"] < callers:
            time.sleep(0.01)
        served.process.send_signal(signal.SIGTERM)
        with pytest.raises(UnavailableError):  # E_DRAINING, or what the server itself says once it is about to end
            for _ in range(1000):
                other.segment(coffee_bytes, ["a"])
        answers = [work.result() for work in asked]
    assert all(count > 10 and finish for count, finish in answers)
    assert served.process.wait(30) == 0
