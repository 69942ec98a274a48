"""gRPC requests on their way from Envoy to the server: a caller who leaves is not told to it as a reset.

Releases have ended by a segmentation fault after some hundred gRPC calls that were cancelled or whose deadline passed
(server #8078, #8220, #8708; with 24.10 it was seen after 388 and 1,283 answers that were left early, and not in another
1,500), and Envoy passes either on as it comes. Here a call to the server is ended by nobody but the server: what was
asked is cancelled by the model's own CANCEL, and what is still said is taken in and dropped. Callers see no difference,
since a call that they left is over for them at once. Unnecessary once all supported releases hold the fixes of those
reports.
"""

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Coroutine
from typing import Any, Self, TypeVar

import grpc
from grpc import aio
from tritonclient.grpc import service_pb2

from hyperseg_runtime.errors import EnvironmentMissingError
from hyperseg_serving import contract
from hyperseg_serving.contract import CALL_HEADER
from hyperseg_serving.gateway.forwarding import GRPC_STREAM, RELAYED, Forwarding
from hyperseg_serving.gateway.replies import LOST, NOT_THERE
from hyperseg_serving.server.command import LOOPBACK
from hyperseg_serving.service.byte_tensors import LENGTH

PASSED_ON = ("x-request-id", "traceparent")
"""Headers of a caller that the server sees."""
CONNECT_S = 1.0
START_S = 10.0
STOP_S = 1.0
BACKOFF_MS = 200
"""From one attempt to reach the server to the next: it is looked for again as soon as it is started again."""
UNBOUNDED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
"""Envoy bounds what comes, the server what it says."""
Done = TypeVar("Done")


class Relay(grpc.GenericRpcHandler):  # type: ignore[misc]  # a class of any type
    """Listens at `port` of the loopback address, on a thread of its own, from `start` to `stop`."""

    def __init__(self, forwarding: Forwarding, server_port: int) -> None:
        self._public = forwarding.names.public
        self._longest_s = forwarding.longest_s
        self._target = f"{LOOPBACK}:{server_port}"
        self._kept: set[asyncio.Task[Any]] = set()
        self.port = 0

    def start(self) -> Self:
        """Raises EnvironmentMissingError where it cannot listen."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        try:
            self._run(self._listen())
        except RuntimeError as error:
            raise EnvironmentMissingError(f"the gateway cannot listen at {LOOPBACK} for gRPC ({error})") from error
        return self

    def stop(self) -> None:
        if self.port:
            self.port = 0
            self._run(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def service(self, details: Any) -> Any:
        """Plain calls and streams alike: messages of bytes one way and the other."""
        if details.method not in RELAYED:
            return None

        async def passed(requests: AsyncIterator[bytes], context: Any) -> None:
            await self._pass(details.method, requests, context)

        return grpc.stream_stream_rpc_method_handler(passed)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    async def _listen(self) -> None:
        backoff = [(f"grpc.{which}_reconnect_backoff_ms", BACKOFF_MS) for which in ("initial", "min", "max")]
        self._channel = aio.insecure_channel(self._target, [*UNBOUNDED, *backoff, ("grpc.enable_http_proxy", 0)])
        self._server = aio.server(options=[*UNBOUNDED, ("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port(f"{LOOPBACK}:0")
        await self._server.start()

    async def _close(self) -> None:
        await self._server.stop(STOP_S)
        for task in self._kept:
            task.cancel()
        await self._channel.close()

    async def _pass(self, method: str, requests: AsyncIterator[bytes], context: Any) -> None:
        """One call: what comes goes up, what the server says goes down, until the server or the caller ends it."""
        if not await self._connected():
            await context.abort(grpc.StatusCode.UNAVAILABLE, NOT_THERE.content)
        name = secrets.token_hex(16)
        given = dict(context.invocation_metadata() or ())
        headers = [(header, given[header]) for header in PASSED_ON if header in given]
        call = self._channel.stream_stream(method)(metadata=[*headers, (CALL_HEADER, name)])
        up = self._keep(_send(requests, call))
        read = self._keep(call.read())
        try:
            while (answer := await asyncio.shield(read)) is not aio.EOF:
                await context.write(answer)
                read = self._keep(call.read())
            code, details = await call.code(), await call.details()
        except aio.AioRpcError as error:
            code, details = error.code(), error.details()
        except BaseException:  # the caller left; a read that is cancelled with it would end the call
            self._keep(self._wind_up(call, up, read, name if method == GRPC_STREAM else None))
            raise
        if code == grpc.StatusCode.UNAVAILABLE:
            details = LOST.content
        if code != grpc.StatusCode.OK:
            await context.abort(code, details)

    async def _connected(self) -> bool:
        """Whether the server listens."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), CONNECT_S)
        except TimeoutError:
            return False
        return True

    async def _wind_up(self, call: Any, up: Awaitable[None], read: Awaitable[Any], name: str | None) -> None:
        """Ends the work, and takes in what the server still says. A server that then says nothing is lost anyway."""
        async with asyncio.timeout(self._longest_s):
            await up
            if name:
                await self._cancel(name)
            while await read is not aio.EOF:
                read = call.read()

    async def _cancel(self, name: str) -> None:
        """Whatever was asked in the call of this name."""
        request = service_pb2.ModelInferRequest(model_name=self._public)
        request.inputs.add(name=contract.CANCEL.name, datatype="BYTES", shape=[1])
        request.raw_input_contents.append(LENGTH.pack(len(name)) + name.encode())
        call = self._channel.stream_stream(GRPC_STREAM)(iter([request.SerializeToString()]))
        async for _ in call:
            pass

    def _keep(self, work: Coroutine[Any, Any, Done]) -> "asyncio.Task[Done]":
        """Until it is done, whoever waits for it."""
        task = self._loop.create_task(work)
        self._kept.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: "asyncio.Task[Any]") -> None:
        self._kept.discard(task)
        if not task.cancelled():
            task.exception()  # asked for, or it would be printed: the server is gone, and callers were told


async def _send(requests: AsyncIterator[bytes], call: Any) -> None:
    """Every message, and that there are no more: also where the caller left."""
    try:
        async for message in requests:
            await call.write(message)
    finally:
        await call.done_writing()
