"""More than there is room for, through the gateway: each caller is answered in time, with a mask or with a refusal."""

import http.client
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway_callers import ENSEMBLE, KEY, METADATA, Guarded, called, message

pytestmark = pytest.mark.usefixtures("the_next_is_right")

Way = Callable[[Guarded, bytes, int], tuple[str, float]]
CALLERS = 30
DEADLINE_S = 4.0
LATE_S = 1.0
"""For threads that share two cores with the server."""


def outcome(text: str) -> str:
    return next((word for word in ("RESULT", "E_BUSY", "E_TIMEOUT", "DEADLINE_EXCEEDED") if word in text), text)


def asked_by_stream(guarded: Guarded, picture: bytes, number: int) -> tuple[str, float]:
    request = message(raw_input_contents=[picture])
    request.inputs.add(name="IMAGE", datatype="UINT8", shape=[len(picture)])
    request.raw_input_contents[0] = b"\x02\0\0\0" + f"{number:02}".encode()
    start = time.monotonic()
    found = called(
        guarded, "ModelStreamInfer", request.SerializeToString(), True, timeout=DEADLINE_S, metadata=METADATA
    )
    return outcome(" ".join(found)), time.monotonic() - start


def asked_of_ensemble(guarded: Guarded, picture: bytes, number: int) -> tuple[str, float]:
    connection = http.client.HTTPConnection(guarded.http, timeout=30)
    headers = {"Authorization": f"Bearer {KEY}", "X-Timeout-Ms": str(round(1000 * DEADLINE_S))}
    body = json.dumps({"IMAGE": list(picture), "TEXT": [f"{number:02}"]})
    start = time.monotonic()
    connection.request("POST", f"/v2/models/{ENSEMBLE}/generate", body, headers)
    answer = connection.getresponse().read().decode()
    connection.close()
    return outcome(answer), time.monotonic() - start


@pytest.mark.parametrize("way", [asked_by_stream, asked_of_ensemble])
def test_everybody_is_answered_within_the_deadline(way: Way, guarded: Guarded, coffee_bytes: bytes) -> None:
    """And who finds no room is told so while others still wait."""
    with ThreadPoolExecutor(CALLERS) as pool:
        found = list(pool.map(lambda number: way(guarded, coffee_bytes, number), range(CALLERS)))
    outcomes = [what for what, _ in found]
    assert set(outcomes) <= {"RESULT", "E_BUSY", "E_TIMEOUT", "DEADLINE_EXCEEDED"}
    assert {"RESULT", "E_BUSY"} <= set(outcomes)
    assert max(spent_s for _, spent_s in found) < DEADLINE_S + LATE_S
