"""Processes as they come and go."""

import os
import subprocess
import sys

import pytest

from hyperseg_serving.server import processes

pytestmark = pytest.mark.skipif(not processes.PROC.is_dir(), reason="this system has no /proc")


def test_children_run_until_they_ended() -> None:
    """One that ended and was not waited for is still listed by the system, and does not run."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert processes.runs(child.pid)
        assert processes.children(os.getpid())[child.pid][1:] == ["-c", "input()"]
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not processes.runs(child.pid) and child.pid not in processes.children(os.getpid())
    assert not processes.runs(child.pid)
