"""Regions that the server still works on are remembered, and nobody's error is hidden by one."""

from pathlib import Path
from typing import Any

import pytest
from tritonclient.utils import InferenceServerException

from hyperseg_serving.client import shared_memory_transport
from hyperseg_serving.client.shared_memory_transport import SharedMemoryTransport
from hyperseg_serving.server.process import SHARED_MEMORY
from hyperseg_serving.service.requests import Request

REQUEST = Request(b"file", ("a",))


class Registry:
    """The server's side: refuses to let go of what is in use."""

    def __init__(self) -> None:
        self.regions: set[str] = set()
        self.in_use = False

    def register_system_shared_memory(self, name: str, key: str, size: int) -> None:
        assert (SHARED_MEMORY / Path(key).name).read_bytes() == REQUEST.image
        self.regions.add(name)

    def unregister_system_shared_memory(self, name: str, client_timeout: float) -> None:
        if self.in_use:
            raise InferenceServerException("the region is currently in use")
        self.regions.remove(name)

    def close(self) -> None: ...


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(shared_memory_transport, "CLOSING_S", 0.05)
    made = SharedMemoryTransport("grpc+shm://127.0.0.1:1")
    made._client.close()
    made._client = Registry()
    return made


def test_a_region_goes_with_its_request(transport: Any) -> None:
    with transport.inputs(REQUEST) as inputs:
        assert len(transport._client.regions) == 1 and len(inputs) == 2
    assert not transport._client.regions
    transport.close()


def test_a_region_is_not_taken_from_another_thread(transport: Any) -> None:
    with transport.inputs(REQUEST):
        with transport.inputs(REQUEST):
            assert len(transport._client.regions) == 2
        assert len(transport._client.regions) == 1
    transport.close()


def test_a_region_in_use_goes_at_the_next_request_or_at_the_end(transport: Any) -> None:
    registry = transport._client
    for _ in range(2):
        registry.in_use = True
        with pytest.raises(KeyError, match="the caller's"), transport.inputs(REQUEST):
            (name,) = registry.regions
            raise KeyError("the caller's")
        assert registry.regions == {name}
        assert not (SHARED_MEMORY / name).exists()
        registry.in_use = False
        with transport.inputs(Request(question="a?")):
            assert not registry.regions
    registry.in_use = True
    with transport.inputs(REQUEST):
        pass
    transport.close()
    assert len(registry.regions) == 1
    registry.in_use = False
    transport.close()
    assert not registry.regions
