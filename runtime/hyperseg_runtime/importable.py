"""What imports here, whatever the package is called that brought it: onnxruntime comes in half a dozen of them."""

import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version

TIMEOUT_S = 120
PROGRAM = """
import gc, importlib, os, sys
gc.disable()
print(getattr(importlib.import_module(sys.argv[1]), "__version__", ""), flush=True)
os._exit(0)
"""
"""Without collecting what nothing throws away, and without taking everything down at the end: half of torch's time."""


@dataclass(frozen=True)
class Imported:
    """`version` is None where the module cannot be imported; `reason` says why then."""

    version: str | None
    packages: tuple[str, ...]
    reason: str = ""

    @property
    def shown(self) -> str:
        """The version, and the packages that it is from if they have another name."""
        if self.version is None:
            return self.reason
        return " ".join(filter(None, (self.version, f"({', '.join(self.packages)})" if self.packages else "")))


def try_import(module: str) -> Imported:
    """Import `module` in a process of its own: one that is broken may end it."""
    packages = tuple(sorted(set(packages_distributions().get(module, ()))))
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", PROGRAM, module],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Imported(None, packages, f"cannot be imported: {error}")
    if done.returncode == 0:
        stated = (done.stdout.strip().splitlines() or [""])[-1]
        others = tuple(name for name in packages if name != module)
        return Imported(stated or (version(packages[0]) if packages else "version unknown"), others and packages)
    last = (done.stderr.strip().splitlines() or [f"it ended Python with {done.returncode}"])[-1]
    if not packages and f"No module named '{module}'" in last:
        return Imported(None, packages, "not installed")
    return Imported(None, packages, f"cannot be imported: {last}")
