"""Verbs that put a bundle behind a server."""

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyperseg_kernels import cpu_ops
from hyperseg_runtime import console
from hyperseg_runtime.errors import InputError

if TYPE_CHECKING:
    from hyperseg_serving.gateway.settings import GatewaySettings
    from hyperseg_serving.server.command import ServerSettings
    from hyperseg_serving.server.process import Server

EXTRA = "triton"

app = typer.Typer(help="Serve a bundle with Triton Inference Server.", no_args_is_help=True)
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.command()
def init(
    bundle: Annotated[Path | None, typer.Argument(metavar="[BUNDLE]", help="Folder written by export.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the model repository.")] = Path("repository"),
    target: Annotated[str | None, typer.Option(help="Which engines, such as sm90-trt11.4; default: the only.")] = None,
    published: Annotated[
        str | None, typer.Option(metavar="FAMILY", help="Configurations at a family's published sizes, without BUNDLE.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Another limit on requests (repeatable), such as max_queue=16."),
    ] = None,
    accept_unmeasured: Annotated[
        bool,
        typer.Option("--accept-unmeasured", help="Also serve engines that were never compared with their graphs."),
    ] = False,
    accept_ungated: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GRAPH", help="Also serve this quantised graph, which passed no task metric (repeatable)."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the model repository of BUNDLE: configurations for GPU and CPU, models, engines if there are any."""
    if (bundle is None) == (published is None):
        raise InputError("serve init takes either BUNDLE or --published FAMILY")
    repository = console.load_extra("hyperseg_serving.repository.writer", EXTRA)
    if published is not None:
        own = {"--target": target, "--accept-unmeasured": accept_unmeasured, "--accept-ungated": accept_ungated}
        _refuse(own, "of the graphs and engines of a bundle; name BUNDLE in the place of --published")
        spec, engines = repository.published_spec(published), {}
    else:
        spec, engines = repository.bundle_spec(bundle, target, accept_unmeasured, accept_ungated or ())
    models = repository.write_repository(out, replace(spec, limits=spec.limits.changed(limit or [])), engines)
    if as_json:
        found = {"models": [m.name for m in models], "engines": sorted(engines), "unmeasured": list(spec.unmeasured)}
        found["ungated"] = list(spec.ungated)
        console.print_json({"repository": str(out), **found})
        return
    console.print_rows("Models", ("model", "runs"), [(m.name, m.about(engines)) for m in models])
    if spec.unmeasured:
        listed = ", ".join(spec.unmeasured)
        console.out.print(f"Never compared with their graphs, served because you said so: {listed}", markup=False)
    if spec.ungated:
        listed = ", ".join(spec.ungated)
        console.out.print(f"Quantised and not gated, served because you said so: {listed}", markup=False)
    if not engines:
        console.out.print("No engines: the repository serves on a CPU; for a GPU run build, then serve init again.")


@app.command()
def up(
    repository: Annotated[Path, typer.Argument(metavar="REPOSITORY", help="Folder written by serve init.")],
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle it was made from.")],
    profile: Annotated[str, typer.Option(help="gpu, or cpu for ONNX Runtime on any machine.")] = "gpu",
    host: Annotated[
        str, typer.Option(help="Address to listen at; anything but loopback lets others in.")
    ] = "127.0.0.1",
    http_port: PortOption = 8000,
    grpc_port: PortOption = 8001,
    metrics_port: PortOption = 8002,
    timeout_s: Annotated[float, typer.Option(help="How long to wait for the first answer.")] = 600.0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of one graph; default: all cores.")] = None,
    native: Annotated[
        bool, typer.Option("--native", help="Our C++ kernels on the CPU: quicker; need g++ or clang++ once.")
    ] = False,
    log: Annotated[
        bool, typer.Option("--log", help="Pass all of the server's log on to stderr, not only failures.")
    ] = False,
    shared_memory: Annotated[
        bool, typer.Option("--shared-memory", help="Callers may hand over images in shared memory; trust them all.")
    ] = False,
    drain_s: Annotated[
        float, typer.Option(min=1, help="On SIGTERM or Ctrl-C what is under way has so long to be answered.")
    ] = 25.0,
    restarts: Annotated[
        int, typer.Option(min=0, help="How often within ten minutes a server that broke is started again.")
    ] = 3,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble", help="With profile gpu: also the ensemble, whose last step holds a language model of its own."
        ),
    ] = False,
    server_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="A further option of tritonserver (repeatable), as log-format=ISO8601."
        ),
    ] = None,
    gateway: Annotated[
        bool | None,
        typer.Option("--gateway/--no-gateway", help="Envoy in front; default: where --host lets others in."),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(help="File with NAME KEY of each caller on a line; default: $HYPERSEG_KEYS, or all may call."),
    ] = None,
    tls: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="CERTIFICATE KEY", help="PEM files: callers use https, grpcs.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Of one caller, through the gateway; default: 6000.")
    ] = None,
) -> None:
    """Start the server found on this machine, wait until it makes a mask, and keep it running until SIGTERM or Ctrl-C.

    A server of which a process ended is started again at once; callers who waited get an error.
    """
    from hyperseg_runtime.bundle.opening import read_manifest
    from hyperseg_serving.contract import Profile
    from hyperseg_serving.gateway.settings import (
        KEYS_VARIABLE,
        REQUESTS_PER_MINUTE,
        GatewaySettings,
        Tls,
        behind,
        read_keys,
    )
    from hyperseg_serving.server.command import LOOPBACK, Address, ServerSettings
    from hyperseg_serving.server.distribution import find_distribution
    from hyperseg_serving.server.supervisor import Supervisor

    read_manifest(bundle)
    if profile not in set(Profile):
        raise InputError(f"unknown profile {profile!r}; choose {', '.join(Profile)}")
    if profile == Profile.GPU:
        _refuse({"--threads": threads, "--native": native}, "of ONNX Runtime on a CPU; add --profile cpu")
    asked = Address(http_port, grpc_port, metrics_port, host)
    address = asked.chosen()
    in_front = None
    if gateway or (gateway is None and host != LOOPBACK):
        in_front = GatewaySettings(
            address,
            read_keys(keys),
            Tls(*tls) if tls else None,
            requests_per_minute=requests_per_minute or REQUESTS_PER_MINUTE,
            log_all=log,
        )
        if shared_memory:
            raise InputError("--shared-memory is for callers on this machine; take either it or the gateway")
    else:
        its = {"--keys": keys, "--tls": tls, "--requests-per-minute": requests_per_minute}
        _refuse({**its, f"${KEYS_VARIABLE}": os.environ.get(KEYS_VARIABLE)}, "of the gateway; add --gateway")
    settings = ServerSettings(
        repository,
        bundle,
        Profile(profile),
        (behind(asked) if in_front else address).chosen(),
        shared_memory=shared_memory,
        on_line=_pass_on if log else _pass_failure_on,
        environment=_environment(threads, native),
        options=tuple(server_option or ()),
        drain_s=drain_s,
        ensemble=ensemble,
    )
    for stop in (signal.SIGTERM, signal.SIGINT):  # shells start what is in the background deaf to Ctrl-C
        signal.signal(stop, signal.default_int_handler)
    console.err.print("loading the models")
    show_ready = partial(_show_ready, (in_front or address).urls())
    with _gateway(in_front, settings):
        Supervisor(find_distribution(), settings, timeout_s, restarts, show_ready, console.err.print).run()


def _refuse(settings: Mapping[str, object], advice: str) -> None:
    """Raise InputError naming those of the settings that were given: nothing here would heed them."""
    given = [name for name, value in settings.items() if value]
    if given:
        noun = "settings" if len(given) > 1 else "a setting"
        raise InputError(f"{', '.join(given)}: {noun} {advice}, or leave {'them' if len(given) > 1 else 'it'} out")


def _show_ready(urls: Mapping[str, str], server: "Server", waited_s: float) -> None:
    """Flushed: whoever reads these lines from a pipe waits for them."""
    console.out.print(f"ready after {waited_s:.1f} s; Ctrl-C stops", markup=False)
    for name, url in urls.items():
        console.out.print(f"{name:8} {url}", markup=False)
    console.out.print("log      on stderr: why a request failed stands there under the reference in its answer")
    sys.stdout.flush()


@app.command()
def install_local(
    folder: Annotated[
        Path | None, typer.Option(help="Where to; default: $HYPERSEG_TRITON or the user's cache.")
    ] = None,
) -> None:
    """Install a server for this machine's CPU, to try things and to test: about 150 MB, never beyond this machine."""
    from hyperseg_serving.server.distribution import install, local_folder

    target = folder or local_folder()
    with console.err.status(f"installing into {target}"):
        install(target)
    console.out.print(f"server  {target}", markup=False)


def _gateway(settings: "GatewaySettings | None", server: "ServerSettings") -> AbstractContextManager[object]:
    """Around the server: it listens first and goes last, so callers get an answer while the server starts or stops."""
    if settings is None:
        return nullcontext()
    from hyperseg_serving.gateway.forwarding import forwarding_of
    from hyperseg_serving.gateway.gateway import Gateway

    return Gateway(forwarding_of(server.repository), settings, server.address, server.on_line)


def _environment(threads: int | None, native: bool) -> dict[str, str]:
    """What the served models read about the CPU."""
    from hyperseg_serving.service.parameters import OPERATORS_VARIABLE, THREADS_VARIABLE

    found = {} if threads is None else {THREADS_VARIABLE: str(threads)}
    if native:
        found[OPERATORS_VARIABLE] = os.pathsep.join(map(str, cpu_ops.libraries_if_possible()))
    return found


def _pass_on(line: str) -> None:
    sys.stderr.write(line)


def _pass_failure_on(line: str) -> None:
    from hyperseg_serving.server.log import is_failure

    if is_failure(line):
        _pass_on(line)
