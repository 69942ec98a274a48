"""What the real server shows to whoever runs it: numbers, files, what is closed."""

import re
import shutil
import stat
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE
from hyperseg_serving.client.client import Client
from hyperseg_serving.client.results import results_of
from hyperseg_serving.contract import Options
from hyperseg_serving.server.command import BACKEND_REGION
from hyperseg_serving.server.process import SHARED_MEMORY
from hyperseg_serving.server.trial import ServeUp
from hyperseg_serving.service import metrics
from hyperseg_serving.service.requests import Request
from serving_support import metric, same

DASHBOARD = Path(__file__).parents[3] / "triton_repo" / "grafana" / "dashboard.json"
NEEDS_A_GPU = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"}


def dashboard_names() -> set[str]:
    """Numbers that its panels show."""
    return set(re.findall(r"\b((?:hyperseg|nv)_\w+)", DASHBOARD.read_text()))


def test_shared_memory_is_for_nobody_else(served: ServeUp) -> None:
    (server,) = (p for p in psutil.Process(served.process.pid).children() if "tritonserver" in p.name())
    regions = list(SHARED_MEMORY.glob(f"{BACKEND_REGION}{served.process.pid}_*"))
    assert server.is_running() and regions
    assert {stat.S_IMODE(region.stat().st_mode) for region in regions} == {0o600}


def test_metrics_and_closed_administration(served: ServeUp) -> None:
    page = urllib.request.urlopen(served.metrics).read().decode()
    shown = {line.split()[0].partition("{")[0] for line in page.splitlines() if line and line[0] != "#"}
    assert metrics.names() <= shown
    assert dashboard_names() <= shown | NEEDS_A_GPU
    for name in (
        'hyperseg_requests_served{kind="masks"}',
        "hyperseg_prompt_tokens_reused",
        "hyperseg_stage_ms",
        "nv_inference_count",
    ):
        assert metric(served, name) > 0
    for path in ("/v2/models/hyperseg/config", "/v2/models/stats", "/v2/logging"):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(served.http + path)
        assert refusal.value.code == 403
        refusal.value.close()


def test_a_bundle_replaced_while_serving_is_not_noticed(
    client: Client, served: ServeUp, tiny_bundle: Path, coffee_bytes: bytes
) -> None:
    """What was opened goes on being used, and the answer says which bundle that is."""
    request = Request(coffee_bytes, ("the cup",), question="a?", options=Options(max_tokens=3))
    *_, before = client.respond(request)
    served.bundle.rename(served.bundle.with_name("old"))
    shutil.copytree(served.bundle.with_name("old"), served.bundle)
    (served.bundle / TOKENIZER_FILE).write_text("{}")
    (served.bundle / "manifest.json").write_text("{}")
    shutil.rmtree(served.bundle.with_name("old"))
    *_, after = client.respond(request)
    shutil.rmtree(served.bundle)
    shutil.copytree(tiny_bundle, served.bundle)  # for a server that is started again
    assert before.result is not None and after.result is not None
    assert after.result["bundle"] == before.result["bundle"]
    assert same(results_of(after), results_of(before))
