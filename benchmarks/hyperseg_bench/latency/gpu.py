"""What NVML tells of the first GPU: clocks, power, energy, memory, and whether it was slowed down.

Through nvidia-ml-py, NVIDIA's own binding (its module is pynvml). Without it, or without a driver, nothing is told.
Names and units are those of the NVML API reference, "Device Queries": energy in millijoules since the driver was loaded
(Volta and newer), clocks in MHz, power in milliwatts, reasons of lower clocks as bits.
"""

from types import ModuleType
from typing import Any

CLOCKS = {"graphics clock, MHz": "NVML_CLOCK_GRAPHICS", "memory clock, MHz": "NVML_CLOCK_MEM"}
SLOWING = (
    "nvmlClocksThrottleReasonSwPowerCap",
    "nvmlClocksThrottleReasonHwSlowdown",
    "nvmlClocksThrottleReasonSwThermalSlowdown",
    "nvmlClocksThrottleReasonHwThermalSlowdown",
    "nvmlClocksThrottleReasonHwPowerBrakeSlowdown",
)


class Gpu:
    """The first GPU that NVML knows. `open` gives None where there is none."""

    def __init__(self, nvml: ModuleType) -> None:
        self._nvml: Any = nvml
        self._handle = nvml.nvmlDeviceGetHandleByIndex(0)

    @classmethod
    def open(cls) -> "Gpu | None":
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
            return cls(pynvml)
        except pynvml.NVMLError:
            return None

    def facts(self) -> dict[str, str]:
        """What a number of this GPU may be compared with; what it does not tell is left out."""
        asked = {
            "name": lambda: self._nvml.nvmlDeviceGetName(self._handle),
            "driver": self._nvml.nvmlSystemGetDriverVersion,
            "power limit, W": lambda: self._nvml.nvmlDeviceGetEnforcedPowerLimit(self._handle) / 1000,
            "power, W": lambda: self._nvml.nvmlDeviceGetPowerUsage(self._handle) / 1000,
            **{about: self._clock(name) for about, name in CLOCKS.items()},
            "temperature, C": lambda: self._nvml.nvmlDeviceGetTemperature(
                self._handle, self._nvml.NVML_TEMPERATURE_GPU
            ),
        }
        found = {about: self._told(ask) for about, ask in asked.items()}
        return {about: str(value) for about, value in found.items() if value is not None}

    def throttled(self) -> bool:
        """Whether clocks are lowered now for power or heat."""
        bits = self._told(lambda: self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle)) or 0
        return any(bits & getattr(self._nvml, name) for name in SLOWING)

    def energy_j(self) -> float | None:
        """Since the driver was loaded; it counts in steps of some ten milliseconds."""
        energy = self._told(lambda: self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        return None if energy is None else energy / 1000

    def used_bytes(self) -> int | None:
        """Memory in use on the device, by everybody."""
        memory = self._told(lambda: self._nvml.nvmlDeviceGetMemoryInfo(self._handle))
        return None if memory is None else int(memory.used)

    def _clock(self, name: str) -> Any:
        return lambda: self._nvml.nvmlDeviceGetClockInfo(self._handle, getattr(self._nvml, name))

    def _told(self, ask: Any) -> Any:
        """None for what this GPU or driver does not tell."""
        try:
            return ask()
        except self._nvml.NVMLError:
            return None
