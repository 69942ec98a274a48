"""What a server writes: kept to a bound, passed on, and searched for why it ended."""

import re
import threading
from collections import deque
from collections.abc import Callable
from typing import IO

FAILED = re.compile(r"failed to load '(\w+)' version \d+: \w[\w ]*: (.*?)(?:\\n\\nAt:|\"$|$)", re.M)
ERROR = re.compile(r"E\d{4} |error: ")
CHATTER = re.compile(r"[IW]\d{4} |[|+]|$")
"""Lines in which the server tells of itself: information, warnings, tables."""
SHOWN_LINES = 15
KEPT_LINES = 2000


class ServerLog:
    """Reads a process's output on a thread of its own until it ends; `on_line` is given every line."""

    def __init__(self, output: IO[str], on_line: Callable[[str], None] = lambda line: None) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._thread = threading.Thread(target=self._follow, args=(output, on_line), daemon=True)
        self._thread.start()

    def _follow(self, output: IO[str], on_line: Callable[[str], None]) -> None:
        with output:
            for line in output:
                self._lines.append(line.rstrip("\n"))
                on_line(line)

    def text(self, wait_s: float = 0.0) -> str:
        """The last lines, after waiting for the end of the output, but no longer than `wait_s`."""
        self._thread.join(wait_s)
        return "\n".join(list(self._lines))


def is_failure(line: str) -> bool:
    """Whether a line is what a model wrote, such as why a request failed, or an error of the server."""
    return not CHATTER.match(line)


def reasons(log: str) -> str:
    """What kept models from loading, each reason once; without any, the last lines that tell of errors, or the last."""
    found: dict[str, list[str]] = {}
    for model, reason in FAILED.findall(log):
        found.setdefault(reason, []).append(model)
    if found:
        return "\n".join(f"{', '.join(models)}: {reason}" for reason, models in found.items())
    lines = [line for line in log.splitlines() if line and line[0] not in "|+"]
    errors = [line for line in lines if ERROR.match(line)]
    return "\n".join((errors or lines)[-SHOWN_LINES:])
