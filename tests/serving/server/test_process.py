"""How a server is started, without starting one."""

import dataclasses
import socket
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from hyperseg_runtime.errors import EnvironmentMissingError, InputError, OutputError
from hyperseg_serving.contract import Limits, Profile
from hyperseg_serving.repository.writer import published_spec, write_repository
from hyperseg_serving.server import distribution as distributions
from hyperseg_serving.server import process as servers
from hyperseg_serving.server.command import (
    BACKEND_REGION,
    NOBODY,
    SINCE,
    Address,
    ServerSettings,
    known_options,
    limits_of,
)
from hyperseg_serving.server.distribution import Distribution, find_distribution
from hyperseg_serving.server.process import Server

OPTIONS = (
    "model-repository backend-directory cache-directory model-control-mode load-model disable-auto-complete-config "
    "exit-timeout-secs http-address http-port grpc-address grpc-port metrics-address metrics-port http-restricted-api "
    "grpc-restricted-protocol backend-config http-header-forward-pattern grpc-header-forward-pattern "
    "model-config-name log-format"
).split()
"""Some that `tritonserver --help` of release 24.10 shows, which writes them to stderr and ends with status 1."""


def fake(folder: Path, script: str, local: bool, newest: bool = True) -> Distribution:
    binary = folder / "tritonserver"
    help_ = "\n".join(f"  --{option} <string>" for option in (*OPTIONS, *(SINCE if newest else ())))
    binary.write_text(f"#!/bin/sh\n[ \"$1\" = --help ] && {{ echo 'Usage:\n{help_}' >&2; exit 1; }}\n{script}\n")
    binary.chmod(0o755)
    return Distribution(binary, folder, folder, (), folder if local else None)


def test_a_server_that_finds_its_libraries_by_the_environment_tells_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that somebody built: without its libraries it does not start."""
    made = fake(tmp_path, "", local=False)
    shell, rest = made.binary.read_text().split("\n", 1)
    made.binary.write_text(f'{shell}\n[ "$LD_LIBRARY_PATH" = /opt/own/lib ] || exit 127\n{rest}')
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/own/lib")
    assert set(OPTIONS) <= known_options(made)
    own = dataclasses.replace(made, library_path=(tmp_path / "lib",))
    assert own.with_libraries({"LD_LIBRARY_PATH": "/opt/own/lib"}) == {
        "LD_LIBRARY_PATH": f"{tmp_path}/lib:/opt/own/lib"
    }
    assert made.with_libraries({}) == {}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerSettings:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "repository" / "hyperseg").mkdir(parents=True)
    (tmp_path / "repository" / "hyperseg" / "config.pbtxt").touch()
    return ServerSettings(tmp_path / "repository", tmp_path, Profile.CPU, Address(0, 0, 0))


def test_safe_settings(settings: ServerSettings, tmp_path: Path) -> None:
    command = Server(fake(tmp_path, "", local=False), settings).command()
    assert {"--model-control-mode=none", "--http-address=127.0.0.1", "--grpc-address=127.0.0.1"} < set(command)
    (restricted,) = (flag for flag in command if flag.startswith("--http-restricted-api="))
    assert "shared-memory" in restricted and restricted.endswith(NOBODY) and "\n" in NOBODY.partition("=")[0]
    assert any(flag.startswith("--http-max-input-size=") for flag in command)
    (region,) = (flag for flag in command if "shm-region-prefix-name" in flag)
    assert region.partition("=")[2].partition("=")[2].startswith(BACKEND_REGION)


def test_a_server_is_given_options_that_its_release_knows(settings: ServerSettings, tmp_path: Path) -> None:
    older = Server(fake(tmp_path, "", local=False, newest=False), settings)
    assert not any(option in flag for flag in older.command() for option in SINCE)
    unsafe = fake(tmp_path, "", local=False)
    unsafe.binary.write_text(unsafe.binary.read_text().replace("http-restricted-api", "other"))
    with pytest.raises(EnvironmentMissingError, match="without --http-restricted-api"):
        Server(unsafe, settings).command()
    unsafe.binary.write_text("#!/bin/sh\necho broken library >&2; exit 127")
    with pytest.raises(EnvironmentMissingError, match="broken library"):
        Server(unsafe, settings).command()


def test_further_options_are_passed_on(settings: ServerSettings, tmp_path: Path) -> None:
    distribution = fake(tmp_path, "", local=False)
    with_format = dataclasses.replace(settings, options=("--log-format=ISO8601",))
    assert Server(distribution, with_format).command()[-1] == "--log-format=ISO8601"
    for option, what in (("http-port=1", "set by serve up"), ("no-such=1", "knows no such option")):
        with pytest.raises(InputError, match=what):
            Server(distribution, dataclasses.replace(settings, options=(option,))).command()


def test_a_port_that_is_taken_is_named(settings: ServerSettings, tmp_path: Path) -> None:
    """Else the server that listens there would be taken for ours."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = dataclasses.replace(settings, address=Address(0, port, 0))
        with pytest.raises(InputError, match=f"port {port} .*--grpc-port"), Server(fake(tmp_path, "", False), taken):
            pass


def test_another_server_is_not_taken_for_ours(
    settings: ServerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "ask_live", lambda url, timeout_s: {"identity": "another"})
    server = Server(fake(tmp_path, "exec sleep 60", local=False), settings)
    with server, pytest.raises(EnvironmentMissingError, match="another server"):
        server.wait_until_ready(10)


def test_limits_are_read_from_the_repository(settings: ServerSettings, tmp_path: Path) -> None:
    spec = dataclasses.replace(published_spec("hyperseg"), limits=Limits(max_image_bytes=60_000_000, workers=7))
    write_repository(settings.repository, spec)
    assert limits_of(settings.repository) == spec.limits
    command = Server(fake(tmp_path, "", local=False), settings).command()
    assert "--http-max-input-size=81000000" in command


def test_a_profile_and_shared_memory_on_request(settings: ServerSettings, tmp_path: Path) -> None:
    container = fake(tmp_path, "", local=False)
    gpu = dataclasses.replace(settings, profile=Profile.GPU)
    assert not any(flag.startswith("--model-config-name") for flag in Server(container, gpu).command())
    loaded = [flag for flag in Server(container, gpu).command() if "load-model" in flag or "control-mode" in flag]
    assert loaded == ["--model-control-mode=explicit", "--load-model=hyperseg", "--load-model=hyperseg_video"]
    everything = dataclasses.replace(gpu, ensemble=True)
    assert "--model-control-mode=none" in Server(container, everything).command()
    command = Server(container, dataclasses.replace(settings, shared_memory=True)).command()
    assert "--model-config-name=cpu" in command and "--allow-client-shm=true" in command
    assert not any("restricted" in flag and "shared-memory" in flag for flag in command)


def test_the_local_server_stays_on_this_machine(settings: ServerSettings, tmp_path: Path) -> None:
    open_to_all = dataclasses.replace(settings, address=Address(0, 0, 0, "0.0.0.0"))
    with pytest.raises(InputError, match="this machine only"):
        Server(fake(tmp_path, "", local=True), open_to_all)


def test_a_folder_that_is_no_repository(settings: ServerSettings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="serve init"):
        Server(fake(tmp_path, "", local=False), dataclasses.replace(settings, repository=tmp_path))


def test_a_gpu_profile_that_cannot_work(settings: ServerSettings, tmp_path: Path) -> None:
    settings = dataclasses.replace(settings, profile=Profile.GPU)
    with pytest.raises(InputError, match="has no TensorRT"):
        Server(fake(tmp_path, "", local=True), settings)
    write_repository(tmp_path / "other", published_spec("hyperseg"))
    with pytest.raises(InputError, match="no engine for hyperseg_clip_encoder, hyperseg_fvp"):
        Server(fake(tmp_path, "", local=False), dataclasses.replace(settings, repository=tmp_path / "other"))


def test_a_server_that_ends_says_why(settings: ServerSettings, tmp_path: Path) -> None:
    lines: list[str] = []
    settings = dataclasses.replace(settings, on_line=lines.append)
    server = Server(fake(tmp_path, "echo the reason; exit 1", local=False), settings)
    with server, pytest.raises(EnvironmentMissingError, match="the reason"):
        server.wait_until_ready(10)
    assert not list((tmp_path / "temporary").iterdir())
    assert lines == ["the reason\n"]


def test_a_server_that_cannot_be_run_leaves_nothing(settings: ServerSettings, tmp_path: Path) -> None:
    distribution = fake(tmp_path, "", local=False)
    distribution.binary.chmod(0o644)
    with pytest.raises(EnvironmentMissingError, match="cannot be run"), Server(distribution, settings):
        pass
    assert not list((tmp_path / "temporary").iterdir())


def test_a_server_that_never_answers(settings: ServerSettings, tmp_path: Path) -> None:
    server = Server(fake(tmp_path, "echo still loading; exec sleep 60", local=False), settings)
    with server, pytest.raises(EnvironmentMissingError, match="still loading"):
        server.wait_until_ready(0.5)


def test_nothing_outlives_a_server_that_does_not_stop(
    settings: ServerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "STOP_S", 0.1)
    script = "trap '' TERM; sleep 61 & echo $! > child; wait; wait"
    with Server(fake(tmp_path, script, local=False), settings) as server:
        child = Path(server._work.name) / "child"
        for _ in range(100):
            if child.is_file() and child.read_text().strip():
                break
            time.sleep(0.05)
        pid = int(child.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_free_ports_differ() -> None:
    chosen = Address(0, 0, 0).chosen()
    assert len({chosen.http_port, chosen.grpc_port, chosen.metrics_port}) == 3


def test_no_server_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERSEG_TRITON", str(tmp_path / "none"))
    monkeypatch.setattr(distributions.shutil, "which", lambda name: None)
    with pytest.raises(EnvironmentMissingError, match="install-local"):
        find_distribution()


def test_the_server_of_make_test_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies in the virtual environment; one that is named goes before it."""
    monkeypatch.delenv("HYPERSEG_TRITON", raising=False)
    monkeypatch.setattr(distributions.shutil, "which", lambda name: None)
    monkeypatch.setattr(distributions.sys, "prefix", str(tmp_path))
    (tmp_path / "triton" / "backends").mkdir(parents=True)
    assert find_distribution().backends == tmp_path / "triton" / "backends"
    monkeypatch.setenv("HYPERSEG_TRITON", str(tmp_path / "named"))
    with pytest.raises(EnvironmentMissingError, match="named"):
        find_distribution()


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    for name in ("HYPERSEG_TRITON", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(EnvironmentMissingError, match="HYPERSEG_TRITON"):
        distributions.local_folder()


def test_nothing_else_is_replaced_by_a_local_server(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("a")
    with pytest.raises(OutputError, match="holds something else"):
        distributions.install(tmp_path / "work")
    assert (tmp_path / "work" / "thesis.txt").read_text() == "a"


def test_a_local_server_is_installed_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "_pip", lambda requirement, target: target.mkdir(parents=True))
    monkeypatch.setattr(distributions, "_assemble_backend", lambda folder: (folder / "backends").mkdir())
    monkeypatch.setattr(distributions, "_local", lambda folder: folder)
    (tmp_path / "server").mkdir()
    monkeypatch.chdir(tmp_path / "server")
    distributions.install(Path())
    assert {path.name for path in (tmp_path / "server").iterdir()} == {"backends", "numpy", "wheel"}


def test_a_python_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "backends").mkdir()
    monkeypatch.setenv("HYPERSEG_TRITON", str(tmp_path))
    monkeypatch.setattr(distributions.shutil, "which", lambda name: None)
    monkeypatch.setattr(distributions.sysconfig, "get_config_var", {"LIBDIR": "/none"}.get)
    with pytest.raises(EnvironmentMissingError, match="enable-shared"):
        find_distribution()


def test_an_installation_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "PACKAGE", "./no-such-wheel.whl")
    with pytest.raises(EnvironmentMissingError, match="pip cannot install"):
        distributions.install(tmp_path / "new" / "server")
    assert list(tmp_path.iterdir()) == []
