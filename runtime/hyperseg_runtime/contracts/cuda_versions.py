"""Which driver the CUDA packages need, and which pip line fits the driver that is there.

The package `tensorrt` is TensorRT for CUDA 13 (the metadata of 10.15.1.29 and of 11.4.0.106 require tensorrt_cu13);
for CUDA 12 there is `tensorrt-cu12`. Both put a module `tensorrt` in the same place: one has to go before the other
comes. `cuda-python` carries a CUDA runtime of its own major version.
"""

from importlib.metadata import PackageNotFoundError, version

OLDEST_DRIVERS = {12: 525, 13: 580}
"""CUDA major version -> oldest NVIDIA driver that runs all its minor releases (NVIDIA, CUDA Compatibility, Minor
Version Compatibility, table 1)."""
EXTRAS = {12: "trt-cu12", 13: "trt"}
TENSORRT_PACKAGES = {"tensorrt-cu12": 12, "tensorrt-cu13": 13}
"""What holds TensorRT's module, and the CUDA it was built for."""


def cuda_of_driver(driver: str) -> int:
    """The newest CUDA major version that a driver like "535.183.06" runs; 0 for one that is too old or unreadable."""
    branch = driver.split(".")[0].strip()
    number = int(branch) if branch.isdecimal() else 0
    return max((cuda for cuda, oldest in OLDEST_DRIVERS.items() if number >= oldest), default=0)


def installed_cuda() -> dict[str, int]:
    """Packages that are installed -> the CUDA major version each needs."""
    found = {name: cuda for name, cuda in TENSORRT_PACKAGES.items() if installed(name)}
    bindings = installed("cuda-bindings")
    return found | ({"cuda-bindings": int(bindings.split(".")[0])} if bindings else {})


def installed(package: str) -> str | None:
    """The version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def install_line(cuda: int) -> str:
    """The command that brings TensorRT for one CUDA, and takes away what would lie in its place."""
    others = [name for name, built_for in TENSORRT_PACKAGES.items() if built_for != cuda and installed(name)]
    names = [part for name in others for part in (name, f"{name}-bindings", f"{name}-libs")]
    meta = ["tensorrt"] if others and installed("tensorrt") else []
    removal = f"pip uninstall -y {' '.join([*meta, *names])} && " if names else ""
    return f"{removal}pip install 'hyperseg-trt[{EXTRAS[cuda]}]'"


def misfit(driver_cuda: int, needed_cuda: int) -> str | None:
    """What to say and do where a driver that runs CUDA `driver_cuda` is too old for packages of `needed_cuda`."""
    if driver_cuda >= needed_cuda:
        return None
    needed = (
        f"the installed packages need CUDA {needed_cuda}, so driver {OLDEST_DRIVERS.get(needed_cuda, 580)} or newer"
    )
    fitting = max((cuda for cuda in EXTRAS if cuda <= driver_cuda), default=None)
    if fitting is None:
        oldest = min(OLDEST_DRIVERS.values())
        return f"{needed}; it is too old for every release we can use (CUDA 12 needs {oldest}): renew the driver"
    return f"{needed}; renew the driver, or take what fits this one: {install_line(fitting)}"
