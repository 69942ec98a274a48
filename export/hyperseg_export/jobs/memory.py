"""What memory this machine, or the container it is, has left, and whether processes were killed for want of it."""

from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """What a new process can take without others losing theirs; None where the system does not say.

    `MemAvailable` of /proc/meminfo (proc(5)), less where a container may take less (`memory.max` and `memory.current`
    of its control group, Linux: cgroup-v2, Memory).
    """
    with suppress(OSError, ValueError, StopIteration):
        lines = (PROC / "meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        with suppress(OSError, ValueError):  # "max", or no group of its own
            free = min(free, int((CGROUP / "memory.max").read_text()) - int((CGROUP / "memory.current").read_text()))
        return free
    return None


def kills() -> int:
    """How many processes the system has killed so far because memory ran out; 0 where it does not say."""
    counts = [0]
    for path in (PROC / "vmstat", CGROUP / "memory.events"):
        with suppress(OSError, ValueError):
            counts += [int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("oom_kill ")]
    return max(counts)
