"""`hyperseg-trt ui`: a page on which a bundle can be tried."""

import socket
from typing import Annotated

import typer

from hyperseg_runtime import console
from hyperseg_runtime.cli import options
from hyperseg_runtime.errors import InputError

EXTRA = "ui"
LOOPBACK = "127.0.0.1"


def ui(
    bundle: options.BundleArgument,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine's own let everybody in.")
    ] = LOOPBACK,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = 8080,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser here.")] = False,
    threads: options.ThreadsOption = None,
    native: options.NativeOption = False,
    backend: options.BackendOption = "onnxruntime",
    low_memory: options.LowMemoryOption = False,
    bf16: options.Bf16Option = False,
    verify_hashes: options.VerifyHashesOption = False,
    accept_unmeasured: options.UnmeasuredOption = False,
    engines: options.EnginesOption = None,
    weights_gb: options.WeightsOption = None,
) -> None:
    """Serve a page on this machine: drop an image or a clip, write texts, a class list or a question, click or drag.

    It shows what the bundle's family answers. There is no login: what is served elsewhere than on this machine
    (--host) is open to everybody who reaches it; for that there is `serve`.
    """
    module = console.load_extra("hyperseg_runtime.ui.page", EXTRA)
    _require_free(host, port)
    chosen = options.backend_options(
        threads, native, accept_unmeasured, engines, weights_gb, low_memory, bf16, verify_hashes
    )
    with options.opened_pipeline(bundle, backend, **chosen) as pipeline:
        console.err.print(f"http://{host}:{port} until Ctrl-C", markup=False)
        module.serve(pipeline, f"{pipeline.family.title}: {bundle.resolve().name}", host, port, show)


def _require_free(host: str, port: int) -> None:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            raise InputError(f"{host}:{port} cannot be listened on ({error.strerror}); choose another --port") from None
