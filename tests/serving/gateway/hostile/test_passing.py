"""What the gateway lets through is answered as without it."""

import http.client
import json
import re
import urllib.request
from pathlib import Path

import pytest

from gateway_callers import ENSEMBLE, KEY, Guarded
from hyperseg_runtime.contracts.requests import Classes
from hyperseg_serving.client.client import Client
from hyperseg_serving.gateway.bootstrap import GATEWAY_METRICS
from serving_support import same

pytestmark = pytest.mark.usefixtures("the_next_is_right")
FILES = Path(__file__).parents[4] / "triton_repo"
LABELS = {"hyperseg_waiting", "envoy_cluster_name", "envoy_http_conn_manager_prefix", "envoy_response_code_class"}


def test_the_ensemble_is_served_over_http(guarded: Guarded, coffee_bytes: bytes) -> None:
    """And under deadlines each caller is answered with a mask or an error."""
    body = json.dumps({"IMAGE": list(coffee_bytes), "TEXT": ["the cup"]})
    for timeout_ms, expected in ((20_000, {200}), (1, {504}), (40, {200, 504}), (80, {200, 504})):
        connection = http.client.HTTPConnection(guarded.http, timeout=30)
        headers = {"Authorization": f"Bearer {KEY}", "X-Timeout-Ms": str(timeout_ms)}
        connection.request("POST", f"/v2/models/{ENSEMBLE}/generate", body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status in expected, text
        assert ("RESULT" if answer.status == 200 else "E_TIMEOUT") in text


def test_a_video_goes_through(guarded: Guarded, coffee_bytes: bytes) -> None:
    with Client(f"grpc://{guarded.grpc}") as client:
        video = client.open_video()
        first = video.push(coffee_bytes, ["the cup"])
        (last,) = video.push(coffee_bytes, Classes(("cup", "spoon")), last=True)
    assert first[0].frame == 0 and last.frame == 1
    assert last.results[0].asked == ("cup", "spoon")


def test_http_callers_get_the_same(guarded: Guarded, coffee_bytes: bytes) -> None:
    with Client(f"http://{guarded.http}") as client:
        assert same(client.segment(coffee_bytes, ["the cup"]), guarded.expected)


def test_alerts_and_autoscaler_name_numbers_that_there_are(guarded: Guarded) -> None:
    pages = ""
    for path in ("/metrics", GATEWAY_METRICS):
        with urllib.request.urlopen(guarded.up.metrics.removesuffix("/metrics") + path) as page:
            pages += page.read().decode()
    there = set(re.findall(r"^(\w+)", pages, re.M))
    named = (FILES / "alerts.yml").read_text() + (FILES / "kubernetes" / "adapter.yaml").read_text()
    wanted = set(re.findall(r"\b(?:envoy|nv|hyperseg)_\w+", named)) - LABELS
    assert len(wanted) > 5 and wanted <= there, wanted - there
