"""gRPC to a server on the same machine that reads the image where the caller wrote it."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from tritonclient import grpc
from tritonclient.utils import InferenceServerException, shared_memory

from hyperseg_runtime.errors import ServerError
from hyperseg_runtime.serving import contract
from hyperseg_runtime.serving.grpc_transport import GrpcTransport, explained
from hyperseg_runtime.serving.requests import Request

IN_USE = "currently in use"
PAUSE_S = 0.005
PAUSES = 400


class SharedMemoryTransport(GrpcTransport):
    """The server must allow it: `serve up --shared-memory`. A region lives as long as its request."""

    @contextmanager
    def inputs(self, request: Request) -> Iterator[list[Any]]:
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
                self._unregister(name)
        finally:
            shared_memory.destroy_shared_memory_region(region)

    def _unregister(self, name: str) -> None:
        """The server lets go of a request a little after its last response."""
        for _ in range(PAUSES):
            try:
                self._client.unregister_system_shared_memory(name)
                return
            except InferenceServerException as error:
                if IN_USE not in error.message():
                    raise ServerError(f"the server keeps the shared memory: {error.message()}") from error
            time.sleep(PAUSE_S)
        raise ServerError(f"the server keeps the shared memory for {PAUSES * PAUSE_S:g} s after its answer")
