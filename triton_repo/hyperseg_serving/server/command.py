"""How a server is started: its settings as the options that its release knows."""

import os
import re
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hyperseg_runtime.errors import EnvironmentMissingError, InputError
from hyperseg_serving.contract import CALL_HEADER, Limits, Profile
from hyperseg_serving.names import ModelNames, family_in
from hyperseg_serving.server.distribution import Distribution

LOOPBACK = "127.0.0.1"
ADMIN_APIS = "model-repository,model-config,statistics,shared-memory,logging,trace"
"""Not for everybody: they change the server, or tell about it."""
NOBODY = "closed\nto everybody=nobody"
"""The header that opens these APIs, and its value. No caller can send it, since neither HTTP nor gRPC takes a line feed
in a header's name (both were tried on 24.10), so that there is no key: the server takes one as an argument only
(`ParseRestrictedFeatureOption` in command_line_parser.cc, to August 2026), where all users of the machine can read it.
"""
HTTP_OVERHEAD_BYTES = 1_000_000
PARAMETER = re.compile(r'parameters\s*\{\s*key:\s*"(\w+)"\s*value\s*\{\s*string_value:\s*"([^"]*)"')
"""Of a configuration as text: reading it whole takes protobuf, which a machine that only starts servers may lack."""
BACKEND_REGION = "triton_python_backend_shm_region_"
"""The Python backend's shared memory begins with this unless told otherwise, and servers from 25.07 on refuse to
register regions that do (CVE-2025-23320): another prefix would let callers name the backend's own memory."""
HEADERS = f"^(x-request-id|traceparent|{CALL_HEADER})$"
OPTION = re.compile(r"^\s+--([a-z][\w-]*)", re.M)
HELP_S = 30
SINCE = {"http-max-input-size": "25.06", "allow-client-shm": "26.04"}
"""Options that a server can do without, and the release that brought them; all others must be known to it."""


@dataclass(frozen=True)
class Address:
    """Ports on this machine; 0 takes a free one."""

    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    host: str = LOOPBACK

    def ports(self) -> dict[str, int]:
        return {"http": self.http_port, "grpc": self.grpc_port, "metrics": self.metrics_port}

    def chosen(self) -> "Address":
        http, grpc, metrics = (port or _free_port() for port in self.ports().values())
        return Address(http, grpc, metrics, self.host)

    def require_free(self) -> None:
        """Raise InputError for a port that somebody listens at: a second server there would be taken for ours."""
        for name, port in self.ports().items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((self.host, port))
                except OSError as error:
                    raise InputError(
                        f"port {port} of {self.host} is not free ({error.strerror}); end what listens there, or choose "
                        f"another with --{name}-port (0 takes a free one)"
                    ) from error

    @property
    def http_url(self) -> str:
        return f"http://{self._reached}:{self.http_port}"

    @property
    def grpc_url(self) -> str:
        return f"grpc://{self._reached}:{self.grpc_port}"

    @property
    def metrics_url(self) -> str:
        return f"http://{self._reached}:{self.metrics_port}/metrics"

    @property
    def _reached(self) -> str:
        return LOOPBACK if self.host == "0.0.0.0" else self.host

    def urls(self) -> dict[str, str]:
        return {"http": self.http_url, "grpc": self.grpc_url, "metrics": self.metrics_url}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class ServerSettings:
    """`environment` goes to the served models."""

    repository: Path
    bundle: Path
    profile: Profile
    address: Address = Address()
    shared_memory: bool = False
    """Let every caller register shared memory. Whoever may is trusted with every region of this machine that the
    server's user can open, and to change a request while it is worked on."""
    environment: dict[str, str] = field(default_factory=dict)
    backends: Path | None = None
    """Other backends than the distribution's."""
    options: Sequence[str] = ()
    """Further options of the server, NAME=VALUE."""
    ensemble: bool = False
    """With profile gpu, load every model of the repository. Else those that callers ask first, which run in one process
    with one copy of every engine: the ensemble's steps would hold them again."""
    drain_s: float = 25.0
    """How long requests under way may take when the server is stopped."""
    on_line: Callable[[str], None] = lambda line: None
    """Is given every line of the server's log."""


def public_config(repository: Path) -> Path:
    """The configuration of the public model. Raises InputError for a folder that is no repository."""
    family = family_in(repository)
    if family is None:
        raise InputError(
            f"{repository}: no model repository; make one with: hyperseg-trt serve init BUNDLE --out REPOSITORY"
        )
    return repository / ModelNames(family).public / "config.pbtxt"


def limits_of(repository: Path) -> Limits:
    """Those that the public model was configured with."""
    return Limits.from_parameters(dict(PARAMETER.findall(public_config(repository).read_text())))


def plugin_libraries(repository: Path) -> list[Path]:
    """What the server's TensorRT backend has to load before engines, each name once (tensorrt_backend, tensorrt.cc:
    semicolons between paths; one that cannot be loaded is only logged).
    """
    found = {path.name: path.resolve() for path in sorted(repository.glob("*/1/*.so"))}
    return list(found.values())


def check_repository(distribution: Distribution, settings: ServerSettings) -> None:
    """Say what the server would say late and in many lines. Raises InputError."""
    repository = settings.repository
    public_config(repository)
    if settings.profile is Profile.CPU or settings.backends:
        return
    if distribution.is_local:
        raise InputError("the local server has no TensorRT; add --profile cpu, or use NVIDIA's container")
    stages = [path.parent for path in repository.glob("*/config.pbtxt") if "tensorrt_plan" in path.read_text()]
    missing = sorted(folder.name for folder in stages if not (folder / "1" / "model.plan").is_file())
    if missing:
        raise InputError(
            f"{repository}: no engine for {', '.join(missing)}; run hyperseg-trt build BUNDLE and then serve init "
            "again, or add --profile cpu"
        )


def known_options(distribution: Distribution) -> frozenset[str]:
    """What the server's release takes, from its own help. Raises EnvironmentMissingError where it says nothing."""
    environment = distribution.with_libraries(os.environ)
    try:
        shown = subprocess.run(
            [distribution.binary, "--help"], env=environment, capture_output=True, text=True, timeout=HELP_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentMissingError(f"{distribution.binary}: cannot be run ({error})") from error
    found = frozenset(OPTION.findall(shown.stdout + shown.stderr))
    if not found:
        raise EnvironmentMissingError(
            f"{distribution.binary} --help tells of no options (status {shown.returncode}): "
            f"{(shown.stderr or shown.stdout).strip()[-300:] or 'it wrote nothing'}"
        )
    return found


def server_command(
    distribution: Distribution, settings: ServerSettings, address: Address, region: str, known: frozenset[str]
) -> list[str]:
    """The whole command line. Raises EnvironmentMissingError for a server too old to be started safely, InputError for
    further options that are set here already or that it does not know.
    """
    own = _own_options(distribution, settings, address, region)
    missing = sorted({name for name, _ in own} - known - SINCE.keys())
    if missing:
        raise EnvironmentMissingError(
            f"{distribution.binary}: a server without --{', --'.join(missing)} cannot be started safely; releases from "
            "24.10 on have it"
        )
    further = [option.removeprefix("--").partition("=") for option in settings.options]
    for name, _, _ in further:
        if name in dict(own):
            raise InputError(f"--server-option {name}: is set by serve up itself")
        if name not in known:
            raise InputError(f"--server-option {name}: this server knows no such option; see tritonserver --help")
    chosen = [f"--{name}={value}" if value else f"--{name}" for name, value in own if name in known]
    return [str(distribution.binary), *chosen, *(f"--{name}{equals}{value}" for name, equals, value in further)]


def _loading(settings: ServerSettings) -> list[tuple[str, str]]:
    """Which models the server loads when it starts; nobody can make it load others later."""
    family = family_in(settings.repository)
    if settings.profile is not Profile.GPU or settings.ensemble or family is None:
        return [("model-control-mode", "none")]
    names = ModelNames(family)
    loaded = [("load-model", name) for name in (names.public, names.video) if name]
    return [("model-control-mode", "explicit"), *loaded]


def _own_options(
    distribution: Distribution, settings: ServerSettings, address: Address, region: str
) -> list[tuple[str, str]]:
    restricted = ADMIN_APIS.replace(",shared-memory", "") if settings.shared_memory else ADMIN_APIS
    largest_body = limits_of(settings.repository).max_image_bytes * 4 // 3 + HTTP_OVERHEAD_BYTES
    options = [
        ("model-repository", str(settings.repository.resolve())),
        ("backend-directory", str(settings.backends or distribution.backends)),
        ("cache-directory", str(distribution.caches)),
        *_loading(settings),
        ("disable-auto-complete-config", ""),
        ("exit-timeout-secs", str(max(1, round(settings.drain_s)))),
        ("http-address", address.host),
        ("http-port", str(address.http_port)),
        ("grpc-address", address.host),
        ("grpc-port", str(address.grpc_port)),
        ("metrics-address", address.host),
        ("metrics-port", str(address.metrics_port)),
        ("http-restricted-api", f"{restricted}:{NOBODY}"),
        ("grpc-restricted-protocol", f"{restricted}:{NOBODY}"),
        ("backend-config", f"python,shm-region-prefix-name={region}"),
        ("http-header-forward-pattern", HEADERS),
        ("grpc-header-forward-pattern", HEADERS),
        ("http-max-input-size", str(largest_body)),
        ("allow-client-shm", str(settings.shared_memory).lower()),
    ]
    if settings.profile is not Profile.GPU:
        options.append(("model-config-name", settings.profile))
    elif libraries := plugin_libraries(settings.repository):
        options.append(("backend-config", f"tensorrt,plugins={';'.join(map(str, libraries))}"))
    return options
