"""Who waits at the real server, who is told that there is no room, and who leaves."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient import http as http_client
from tritonclient.utils import InferenceServerException

from hyperseg_runtime.errors import UnavailableError
from hyperseg_serving.client import client as clients
from hyperseg_serving.client.canary import ask_canary, ask_live
from hyperseg_serving.client.client import Client
from hyperseg_serving.contract import Options
from hyperseg_serving.server.trial import ServeUp
from hyperseg_serving.service.requests import open_image
from serving_support import LIMITS, metric

REFUSED_BUSY = 'hyperseg_requests_refused{reason="E_BUSY"}'


def test_a_caller_who_leaves_ends_the_work(client: Client, served: ServeUp) -> None:
    """More than one try: on a busy machine an answer may be over before the caller's leaving arrives."""
    cancelled = 'hyperseg_requests_refused{reason="E_CANCELLED"}'
    before = metric(served, cancelled)
    for _ in range(5):
        answer = client.ask(None, "Tell all.", Options(max_tokens=250))
        next(answer)
        answer.close()
        time.sleep(1.5)  # numbers are published every second
        if metric(served, cancelled) > before:
            return
    pytest.fail("every answer was read to its end for nobody")


def test_a_full_queue_says_so(served: ServeUp, coffee_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "ATTEMPTS", 1)

    pixels, all_there = open_image(coffee_bytes, LIMITS), threading.Barrier(24)

    def ask(number: int) -> str:
        new = clients.encoded(np.roll(pixels, number + 1, axis=1))
        with Client(served.grpc) as client:
            assert client.family.video_tasks
            all_there.wait()
            try:
                client.segment(new, [f"the thing {number} {index}" for index in range(16)])
            except UnavailableError:
                return "no room"
            return "done"

    before = metric(served, REFUSED_BUSY)
    with ThreadPoolExecutor(25) as pool:
        asked = [pool.submit(ask, number) for number in range(24)]
        while metric(served, REFUSED_BUSY) == before and not all(work.done() for work in asked):
            time.sleep(0.1)
        assert ask_live(served.http, 10)["limits"] == LIMITS.model_dump()
        assert ask_canary(served.http, 20) > 0  # the line is full: probes have a place of their own
        outcomes = [work.result() for work in asked]
    assert set(outcomes) == {"no room", "done"}
    give_up_s = time.monotonic() + 10  # numbers are published every second
    while metric(served, REFUSED_BUSY) < before + outcomes.count("no room") and time.monotonic() < give_up_s:
        time.sleep(0.1)
    assert metric(served, REFUSED_BUSY) == before + outcomes.count("no room")
    assert outcomes.count("done") >= LIMITS.max_queue


def test_texts_without_number_stall_nobody(served: ServeUp, client: Client, coffee_bytes: bytes) -> None:
    """27 MB of empty texts, whose reading takes the server's library seconds."""
    count = 6_750_000
    text = http_client.InferInput("TEXT", [count], "BYTES")
    text._raw_data = bytes(4 * count)
    text._parameters["binary_data_size"] = 4 * count
    picture = http_client.InferInput("IMAGE", [len(coffee_bytes)], "UINT8")
    picture.set_data_from_numpy(np.frombuffer(coffee_bytes, np.uint8))
    client.segment(coffee_bytes, ["a"])
    with ThreadPoolExecutor(1) as pool:
        hostile = http_client.InferenceServerClient(served.http.removeprefix("http://"), network_timeout=20)
        asked = pool.submit(hostile.infer, "hyperseg_preprocess", [picture, text])
        start = time.monotonic()
        for _ in range(3):
            client.segment(coffee_bytes, ["a"])
        assert time.monotonic() - start < 3
        with pytest.raises(InferenceServerException, match="E_TOO_MANY"):
            asked.result()
        assert time.monotonic() - start < 3
        hostile.close()
