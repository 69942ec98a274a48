"""What this machine has of what the verbs need, and how to get the rest."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from hyperseg_runtime.contracts.cuda_versions import (
    OLDEST_DRIVERS,
    TENSORRT_PACKAGES,
    cuda_of_driver,
    install_line,
    installed,
    installed_cuda,
    misfit,
)
from hyperseg_runtime.contracts.tensorrt_versions import defects_of, require_usable
from hyperseg_runtime.errors import HypersegError
from hyperseg_runtime.importable import try_import
from hyperseg_runtime.reports.machine import memory_bytes

NVIDIA_SMI_TIMEOUT_S = 20
CHECKS = "hyperseg_trt.checks"
"""Entry points of packages that look for something of their own: functions without arguments that return a Finding."""


@dataclass(frozen=True)
class Finding:
    """One line of the report. `advice` is empty where nothing is to be done."""

    part: str
    needed_for: str
    found: str
    works: bool
    advice: str = ""


def examine(directory: Path) -> list[Finding]:
    """Look at packages, GPU, memory and the disk of `directory`."""
    with ThreadPoolExecutor() as pool:
        library = pool.submit(_onnxruntime)
        asked = pool.submit(_gpu)  # nvidia-smi takes a second or two on a machine that has one
        modules = list(pool.map(_module, MODULES))
        gpu = asked.result()
    advice = _tensorrt_line(gpu)
    return [
        library.result(),
        *modules,
        gpu,
        _tensorrt(advice),
        _package("cuda-bindings", "build, run on engines", advice),
        *(_checked(entry) for entry in sorted(entry_points(group=CHECKS))),
        _memory(),
        _disk(directory),
    ]


MODULES = (
    ("openvino", "run --backend openvino", "pip install 'hyperseg-trt[cpu,openvino]'"),
    ("nicegui", "ui", "pip install 'hyperseg-trt[cpu,ui]'"),
    ("torch", "export, verify", "pip install 'hyperseg-trt[export]'"),
    ("tritonclient", "serve init, client over grpc", "pip install 'hyperseg-trt[triton]'"),
)


def _module(asked: tuple[str, str, str]) -> Finding:
    """What imports decides: the same module comes in packages of several names."""
    module, needed_for, advice = asked
    found = try_import(module)
    if found.version is None:
        broken = f"{', '.join(found.packages)}: uninstall and install it again"
        return Finding(module, needed_for, found.shown, False, broken if found.packages else advice)
    return Finding(module, needed_for, found.shown, True)


def _onnxruntime() -> Finding:
    """One of two packages: which providers it was built with, or that there is none of them, or both."""
    part, needed = "onnxruntime", "run, verify; on a GPU run --backend onnxruntime-cuda"
    choice = "pip install 'hyperseg-trt[cpu]', or 'hyperseg-trt[gpu]' for an NVIDIA GPU"
    found = try_import(part, "get_available_providers")
    if len(found.packages) > 1:
        names = " and ".join(found.packages)
        advice = f"{names} overwrite each other: pip uninstall -y {' '.join(found.packages)}, then {choice}"
        return Finding(part, needed, found.shown, False, advice)
    if found.version is None:
        remove = f"pip uninstall -y {found.packages[0]}, then " if found.packages else ""
        return Finding(part, needed, found.shown, False, f"{remove}{choice}")
    return Finding(part, needed, f"{found.shown}: {found.told}", True)


def _checked(entry: EntryPoint) -> Finding:
    """What a package of ours says of its own part; a check that fails is a finding, too."""
    try:
        found: Finding = entry.load()()
    except Exception as error:  # whatever is wrong with the machine; the other findings matter all the more
        return Finding(entry.name, "", "could not be looked for", False, f"{type(error).__name__}: {error}")
    return found


def _package(name: str, needed_for: str, advice: str) -> Finding:
    found = installed(name)
    return Finding(name, needed_for, found or "not installed", found is not None, "" if found else advice)


def _gpu() -> Finding:
    """Also whether the driver is new enough for the packages that are installed."""
    needed = "build, run on engines"
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,compute_cap,memory.total,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=NVIDIA_SMI_TIMEOUT_S,
        )
    except FileNotFoundError:
        newest = OLDEST_DRIVERS[max(OLDEST_DRIVERS)]
        return Finding(
            "GPU", needed, "no NVIDIA driver", False, f"install an NVIDIA driver of version {newest} or newer"
        )
    except (subprocess.SubprocessError, OSError) as error:
        return Finding("GPU", needed, f"nvidia-smi failed: {error}", False, "see what nvidia-smi says")
    found = "; ".join(answer.stdout.split("\n")).strip("; ")
    if not found:
        return Finding("GPU", needed, "a driver and no GPU", False, "make a GPU visible to this machine or container")
    driver = found.rsplit(", ", 1)[-1]
    packages = installed_cuda()
    problem = misfit(cuda_of_driver(driver), max(packages.values(), default=0))
    return Finding("GPU", needed, found, problem is None, f"driver {driver}: {problem}" if problem else "")


def _tensorrt(line: str) -> Finding:
    """Whichever of its packages is there, and what is known to be wrong with the release; `line` installs it."""
    needed = "build, run on engines"
    found = {name: text for name in TENSORRT_PACKAGES if (text := installed(name))}
    release = next(iter(found.values()), None) or installed("tensorrt")  # in NVIDIA's containers under that name alone
    if release is None:
        return Finding("tensorrt", needed, "not installed", False, line)
    shown = ", ".join(f"{text} for CUDA {TENSORRT_PACKAGES[name]}" for name, text in found.items()) or release
    if len(found) > 1:
        advice = f"{' and '.join(found)} overwrite each other; keep one: {line}"
        return Finding("tensorrt", needed, shown, False, advice)
    try:
        require_usable(release)
    except HypersegError as error:
        return Finding("tensorrt", needed, shown, False, str(error))
    notes = [f"{d.symptom} ({d.reference}): {d.consequence}" for d in defects_of(release)]
    return Finding("tensorrt", needed, shown, True, "; ".join(notes))


def _tensorrt_line(gpu: Finding) -> str:
    """The pip line for the driver of this machine, for the newest CUDA where that is not known."""
    driver = gpu.found.rsplit(", ", 1)[-1]
    return install_line(cuda_of_driver(driver) or max(OLDEST_DRIVERS))


def _memory() -> Finding:
    total = memory_bytes()
    if total is None:
        return Finding("memory", "export, build", "not known on this platform", True)
    advice = "" if total >= 24e9 else "the full model's export needs about 16 GB, its engines about 20 GB"
    return Finding("memory", "export, build", f"{total / 1e9:.0f} GB", total >= 24e9, advice)


def _disk(directory: Path) -> Finding:
    free = shutil.disk_usage(directory).free
    advice = "" if free >= 30e9 else "the full model's bundle takes 14 GB in float32, its engines about 7 GB"
    return Finding("disk", "export, build", f"{free / 1e9:.0f} GB free in {directory}", free >= 30e9, advice)
