"""gRPC to a server on the same machine that reads the image where the caller wrote it."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
from tritonclient import grpc
from tritonclient.utils import InferenceServerException, shared_memory

from hyperseg_serving import contract
from hyperseg_serving.client.grpc_transport import GrpcTransport, explained
from hyperseg_serving.service.requests import Request

CLOSING_S = 2.0
PAUSE_S = 0.01
CALL_TIMEOUT_S = 1.0


class SharedMemoryTransport(GrpcTransport):
    """The server must allow it: `serve up --shared-memory`.

    A region's memory is given back with its request. The server lets go of it a little later, and only then of its
    name: names are kept, and taken back at the next request and at `close`.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._left: set[str] = set()
        """Names of regions whose requests are over."""

    @contextmanager
    def inputs(self, request: Request) -> Iterator[list[Any]]:
        self._unregister()
        with super().inputs(replace(request, image=None)) as inputs:
            if request.image is None:
                yield inputs
                return
            with self._region(request.image) as name:
                tensor = grpc.InferInput(contract.IMAGE.name, [len(request.image)], "UINT8")
                tensor.set_shared_memory(name, len(request.image))
                yield [tensor, *inputs]

    @contextmanager
    def _region(self, data: bytes) -> Iterator[str]:
        name = f"hyperseg-{secrets.token_hex(8)}"
        region = shared_memory.create_shared_memory_region(name, name, len(data), create_only=True)
        try:
            shared_memory.set_shared_memory_region(region, [np.frombuffer(data, np.uint8)])
            with explained():
                self._client.register_system_shared_memory(name, f"/{name}", len(data))
            try:
                yield name
            finally:
                self._left.add(name)
                self._unregister()
        finally:
            shared_memory.destroy_shared_memory_region(region)

    def _unregister(self) -> None:
        """What the server still works on stays for another time. Never raises: an answer or an error may be on its
        way to the caller."""
        for name in tuple(self._left):
            with suppress(InferenceServerException, ValueError):  # ValueError: the connection was closed meanwhile
                self._client.unregister_system_shared_memory(name, client_timeout=CALL_TIMEOUT_S)
                self._left.discard(name)

    def close(self) -> None:
        """Waits a little for what the server still works on. It forgets the rest when it ends."""
        give_up_s = time.monotonic() + CLOSING_S
        self._unregister()
        while self._left and time.monotonic() < give_up_s:
            time.sleep(PAUSE_S)
            self._unregister()
        super().close()
