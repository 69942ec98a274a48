"""What is asked of NVML, against its own binding: every name exists there, every refusal is "not told"."""

import re
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from hyperseg_bench.latency import gpu
from hyperseg_bench.latency.gpu import Gpu


def test_every_name_is_nvmls() -> None:
    source = Path(gpu.__file__).read_text()
    names = {*re.findall(r"_nvml\.(\w+)", source), *re.findall(r"pynvml\.(\w+)", source), *gpu.SLOWING}
    names |= set(gpu.CLOCKS.values())
    assert len(names) > 15 and all(hasattr(pynvml, name) for name in names)


def test_without_a_driver_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    assert Gpu.open() is None


class _Nvml:
    """A GPU at its power limit that tells no energy, in the units of the NVML API reference."""

    def __getattr__(self, name: str) -> object:
        def asked(*_: object) -> object:
            if name not in answers:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return answers[name]

        answers = {
            "nvmlDeviceGetHandleByIndex": "handle",
            "nvmlDeviceGetName": "A GPU",
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetClockInfo": 1980,
            "nvmlDeviceGetCurrentClocksThrottleReasons": pynvml.nvmlClocksThrottleReasonSwPowerCap,
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=5),
        }
        return asked if name.startswith("nvmlDevice") or name.startswith("nvmlSystem") else getattr(pynvml, name)


def test_what_is_told_has_our_units_and_the_rest_is_left_out() -> None:
    asked = Gpu(_Nvml())  # type: ignore[arg-type]
    told = {"name": "A GPU", "power limit, W": "700.0", "graphics clock, MHz": "1980", "memory clock, MHz": "1980"}
    assert asked.facts() == told
    assert asked.throttled() and asked.energy_j() is None and asked.used_bytes() == 5
