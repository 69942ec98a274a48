"""The stress of the server, all of it in small: what must hold at any size."""

from pathlib import Path

import pytest
from stress_serving import SCENARIOS, measured

from hyperseg_serving.server.distribution import Distribution

pytestmark = pytest.mark.full


@pytest.mark.parametrize("gateway", [False, True], ids=["straight", "gateway"])
@pytest.mark.parametrize("name", list(SCENARIOS))
def test_it_holds(name: str, gateway: bool, distribution: Distribution, tiny_bundle: Path) -> None:
    found = measured(tiny_bundle, name, 0.05, gateway)
    match name:
        case "hostile":
            assert found["lost"] == 0 and found["hostile_requests"]["answered"] > 0
        case "overload":
            assert set(found["failed"]) == {"E_BUSY"}
            assert found["failed"]["E_BUSY"]["requests"] == found["counted_as_busy"]
            assert found["failed"]["E_BUSY"]["p99_ms"] < 1000
            assert not found["probes"]["live"]["failed"] and not found["probes"]["canary"]["failed"]
        case "drain":
            assert found["lost"] == 0 and found["status"] == 0
        case "kill":
            assert all(found[process]["all_callers_told_s"] < 5 for process in ("model", "server"))
        case "memory":
            sizes_mb = [sample["model_mb"] for sample in found["samples"]]
            assert sizes_mb[-1] < 1.2 * sizes_mb[4]
