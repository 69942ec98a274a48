"""The files for Docker, Prometheus, Grafana and Kubernetes: they parse, and what they name exists."""

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from hyperseg_serving.gateway.bootstrap import GATEWAY_METRICS
from hyperseg_serving.gateway.gateway import DRAIN_S
from hyperseg_serving.gateway.settings import behind
from hyperseg_serving.server.command import Address
from hyperseg_serving.server.process import STOP_S
from hyperseg_serving.service import metrics
from support import RunCli

FILES = Path(__file__).parents[2] / "triton_repo"
COMPOSE = yaml.safe_load((FILES / "docker-compose.yml").read_text())
MANIFEST = FILES / "kubernetes" / "hyperseg.yaml"
DEPLOYMENT, SERVICE, POLICY, BUDGET, AUTOSCALER = yaml.safe_load_all(MANIFEST.read_text())
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


def test_probes_fit_what_they_ask() -> None:
    """Start-up asks for a mask; what counts while it serves waits for no request."""
    assert all(command[:3] == ["hyperseg-trt", "client", "health"] for command in PROBES)
    startup, readiness, liveness = PROBES
    assert not {"--live", "--ready"} & set(startup) and "--ready" in readiness and "--live" in liveness
    for name, command in zip(("startupProbe", "readinessProbe", "livenessProbe"), PROBES, strict=True):
        patience_s = float(command[command.index("--timeout-s") + 1])
        probe = CONTAINER[name]
        assert probe["periodSeconds"] >= probe["timeoutSeconds"] or name == "startupProbe"
        assert probe["timeoutSeconds"] > patience_s


def test_shared_memory_is_enough_for_python_models() -> None:
    assert COMPOSE["services"]["triton"]["shm_size"] == "2g"
    volumes = {volume["name"]: volume for volume in DEPLOYMENT["spec"]["template"]["spec"]["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}
    assert {"name": "shm", "mountPath": "/dev/shm"} in CONTAINER["volumeMounts"]


def test_ports_lead_to_the_server() -> None:
    offered = {port["name"] for port in CONTAINER["ports"]}
    assert {port["targetPort"] for port in SERVICE["spec"]["ports"]} == offered
    assert AUTOSCALER["spec"]["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]
    jobs = yaml.safe_load((FILES / "prometheus.yml").read_text())["scrape_configs"]
    assert all(job["static_configs"] == [{"targets": ["triton:8002"]}] for job in jobs)
    assert {job.get("metrics_path") for job in jobs} == {None, GATEWAY_METRICS}


@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_the_manifest_is_what_kubernetes_takes(version: str) -> None:
    """Strictly: a name that the interface does not know is an error."""
    for resource in yaml.safe_load_all(MANIFEST.read_text()):
        kubernetes_validate.validate(resource, version, strict=True)


def test_callers_reach_the_gateway_and_nobody_the_server() -> None:
    opened = {port["port"] for rule in POLICY["spec"]["ingress"] for port in rule["ports"]}
    address = Address(host="0.0.0.0")
    assert opened == {address.http_port, address.grpc_port, address.metrics_port}
    assert all(rule["from"] for rule in POLICY["spec"]["ingress"]) and POLICY["spec"]["egress"] == []
    server = behind(address)
    assert server.host == "127.0.0.1" and not opened & {server.http_port, server.grpc_port, server.metrics_port}
    published = {volume.rpartition(":")[2] for volume in COMPOSE["services"]["triton"]["ports"]}
    assert published == {"8000", "8001"}
    health = COMPOSE["services"]["triton"]["healthcheck"]["test"]
    for command in (*PROBES, health):  # past the gateway, which asks for a key
        assert command[command.index("--url") + 1] == server.http_url


def test_commands_lead_through_the_gateway() -> None:
    for command in (COMPOSE["services"]["triton"]["command"], CONTAINER["args"]):
        assert command[command.index("--host") + 1] == "0.0.0.0"  # which puts the gateway in front
        assert "--no-gateway" not in command and "--keys" in command
    mounted = {mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    files = [Path(word) for word in CONTAINER["args"] if word.startswith("/")]
    assert len(files) == 3 and {str(file.parent) for file in files} <= mounted
    assert COMPOSE["services"]["triton"]["secrets"] == list(COMPOSE["secrets"])


def test_pods_are_replaced_without_a_gap() -> None:
    strategy = DEPLOYMENT["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 1, "maxUnavailable": 0}
    assert DEPLOYMENT["spec"]["replicas"] > BUDGET["spec"]["minAvailable"] >= 1
    assert AUTOSCALER["spec"]["minReplicas"] == DEPLOYMENT["spec"]["replicas"]
    pod = DEPLOYMENT["spec"]["template"]
    for selector in (BUDGET["spec"]["selector"], POLICY["spec"]["podSelector"], DEPLOYMENT["spec"]["selector"]):
        assert selector["matchLabels"] == pod["metadata"]["labels"]
    pause_s = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    drain_s = int(CONTAINER["args"][CONTAINER["args"].index("--drain-s") + 1])
    assert pod["spec"]["terminationGracePeriodSeconds"] >= pause_s + drain_s + STOP_S + 2 * DRAIN_S
    startup = CONTAINER["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] <= DEPLOYMENT["spec"]["progressDeadlineSeconds"]
    folders = {mount["mountPath"]: mount.get("subPath") for mount in CONTAINER["volumeMounts"]}
    assert Path(folders["/models"]).parent == Path(folders["/bundle"]).parent != Path()  # a version's folder


def test_the_autoscaler_reads_what_the_adapter_makes() -> None:
    (rule,) = yaml.safe_load((FILES / "kubernetes" / "adapter.yaml").read_text())["rules"]["custom"]
    (metric,) = AUTOSCALER["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert "hyperseg_requests_waiting" in rule["seriesQuery"] and "hyperseg_requests_waiting" in rule["metricsQuery"]


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
