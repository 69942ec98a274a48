"""The files for Docker, Prometheus, Grafana and Kubernetes: they parse, and what they name exists."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hyperseg_serving.service import metrics
from support import RunCli

FILES = Path(__file__).parents[2] / "triton_repo"
COMPOSE = yaml.safe_load((FILES / "docker-compose.yml").read_text())
DEPLOYMENT, SERVICE, AUTOSCALER = yaml.safe_load_all((FILES / "kubernetes" / "hyperseg.yaml").read_text())
(CONTAINER,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
PROBES = [CONTAINER[name]["exec"]["command"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]


def entrypoint() -> list[str]:
    found = re.search(r"^ENTRYPOINT (\[.*\])$", (FILES / "Dockerfile").read_text(), re.M)
    assert found
    return list(json.loads(found.group(1)))


@pytest.mark.parametrize(
    "command",
    [
        [*entrypoint(), *COMPOSE["services"]["triton"]["command"]],
        [*entrypoint(), *CONTAINER["args"]],
        COMPOSE["services"]["triton"]["healthcheck"]["test"][1:],
        *PROBES,
    ],
)
def test_commands_have_options_that_exist(command: list[str], run_cli: RunCli) -> None:
    program, group, verb, *rest = command
    assert program == "hyperseg-trt"
    shown = run_cli(group, verb, "--help").out
    for option in (word for word in rest if word.startswith("--")):
        assert f"{option} " in shown or f"{option}\n" in shown, option


def test_probes_ask_for_a_mask_and_outwait_the_queue() -> None:
    assert all(command[:3] == ["hyperseg-trt", "client", "health"] for command in PROBES)
    patience_s = [float(command[command.index("--timeout-s") + 1]) for command in PROBES]
    assert all(CONTAINER[name]["timeoutSeconds"] > s for name, s in zip(
        ("startupProbe", "readinessProbe", "livenessProbe"), patience_s, strict=True
    ))  # fmt: skip
    assert patience_s[-1] > 60  # `queue_timeout_ms`: a busy server is not a dead one


def test_shared_memory_is_enough_for_python_models() -> None:
    assert COMPOSE["services"]["triton"]["shm_size"] == "2g"
    volumes = {volume["name"]: volume for volume in DEPLOYMENT["spec"]["template"]["spec"]["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}
    assert {"name": "shm", "mountPath": "/dev/shm"} in CONTAINER["volumeMounts"]


def test_ports_lead_to_the_server() -> None:
    offered = {port["name"] for port in CONTAINER["ports"]}
    assert {port["targetPort"] for port in SERVICE["spec"]["ports"]} == offered
    assert AUTOSCALER["spec"]["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]
    targets = yaml.safe_load((FILES / "prometheus.yml").read_text())["scrape_configs"][0]["static_configs"]
    assert targets == [{"targets": ["triton:8002"]}]


def test_mounted_files_exist() -> None:
    for service in ("prometheus", "grafana"):
        for volume in COMPOSE["services"][service]["volumes"]:
            assert (FILES / volume.split(":")[0]).is_file()


def test_the_dashboard_shows_numbers_that_there_are() -> None:
    ours = metrics.names()
    shown: set[str] = set()
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            shown |= set(re.findall(r"\b((?:hyperseg|nv)_\w+)", target["expr"]))
    assert {name for name in shown if name.startswith("hyperseg")} <= ours
    assert len(shown) > 10


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FILES / "grafana" / "dashboard.json").read_text())
    return content
