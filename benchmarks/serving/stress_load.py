"""Requests at a fixed rate by one event loop and one connection: no thread of the callers waits for another.

Messages are made before; a request's time counts from when it was due.
"""

import asyncio
import struct
import time
from collections.abc import Sequence
from statistics import median

from grpc import aio
from stress_callers import Calls
from tritonclient.grpc import service_pb2

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
DEADLINE_S = 60
CALLERS = 4
"""At once, when the capacity is measured."""
IDLE_REQUESTS = 10


def message(model: str, image: bytes, text: str) -> bytes:
    """An image and an expression."""
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="IMAGE", datatype="UINT8", shape=[len(image)])
    request.inputs.add(name="TEXT", datatype="BYTES", shape=[1])
    request.raw_input_contents.extend([image, struct.pack("<I", len(text)) + text.encode()])
    return bytes(request.SerializeToString())


class Load:
    """To the server at grpc://HOST:PORT. Every coroutine on the loop that `run` makes."""

    def __init__(self, url: str, messages: Sequence[bytes]) -> None:
        self._host = url.partition("//")[2]
        self._messages = messages

    def idle_s(self) -> float:
        """Median of a few requests, one after another."""

        async def measured() -> float:
            async with aio.insecure_channel(self._host) as channel:
                calls = Calls()
                for number in range(IDLE_REQUESTS):
                    await self._ask(channel, number, calls, time.perf_counter())
            return median(calls.answered_s)

        return asyncio.run(measured())

    def capacity(self, seconds: float) -> float:
        """Requests a second of a few callers in a closed loop."""

        async def measured() -> float:
            calls, end_s = Calls(), time.perf_counter() + seconds
            async with aio.insecure_channel(self._host) as channel:

                async def caller(number: int) -> None:
                    while time.perf_counter() < end_s:
                        await self._ask(channel, number, calls, time.perf_counter())

                await asyncio.gather(*map(caller, range(CALLERS)))
            return len(calls.answered_s) / seconds

        return asyncio.run(measured())

    def offered(self, per_second: float, seconds: float) -> Calls:
        """At equal distances in time, whatever becomes of them."""

        async def measured() -> Calls:
            calls, start = Calls(), time.perf_counter()
            async with aio.insecure_channel(self._host) as channel, asyncio.TaskGroup() as sent:
                for number in range(round(per_second * seconds)):
                    due_s = start + number / per_second
                    await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                    sent.create_task(self._ask(channel, number, calls, due_s))
            return calls

        return asyncio.run(measured())

    async def _ask(self, channel: aio.Channel, number: int, calls: Calls, due_s: float) -> None:
        ask = channel.stream_stream(STREAM, response_deserializer=service_pb2.ModelStreamInferResponse.FromString)
        why = ""
        try:
            async for answer in ask(iter([self._messages[number % len(self._messages)]]), timeout=DEADLINE_S):
                why = answer.error_message.partition(":")[0]
        except aio.AioRpcError as error:
            why = (error.details() or str(error.code())).partition(":")[0]
        spent_s = time.perf_counter() - due_s
        (calls.failed_s.setdefault(why, []) if why else calls.answered_s).append(spent_s)
