"""Processes of this machine, as Linux shows them."""

from pathlib import Path

PROC = Path("/proc")
ENDED = ("Z", "X")
"""States of one that has ended and was not waited for."""


def children(pid: int) -> dict[int, list[str]]:
    """Process id -> command line of every child that runs. Nothing where there is no /proc."""
    found = {}
    for folder in PROC.glob("[0-9]*"):
        state = _state(int(folder.name))
        if state is None or state[0] in ENDED or state[1] != pid:
            continue
        try:
            found[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        except OSError:  # it ended meanwhile
            continue
    return found


def runs(pid: int) -> bool:
    state = _state(pid)
    return state is not None and state[0] not in ENDED


def _state(pid: int) -> tuple[str, int] | None:
    """State and parent."""
    try:
        after_name = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return after_name[0], int(after_name[1])
