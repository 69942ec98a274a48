"""The command of an interpreter whose script nobody looks for."""

import subprocess
from importlib.metadata import version

from support import PROGRAM


def test_the_module_is_the_command() -> None:
    shown = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    assert shown == f"hyperseg-trt {version('hyperseg-trt')}\n"
    assert subprocess.run([*PROGRAM, "no-such-verb"], capture_output=True, check=False).returncode == 2
