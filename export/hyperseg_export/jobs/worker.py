"""The inside of a process that does one job: it says how far it is, and how it ended (see `process`).

One JSON object per line on stdout: {"progress": ...}, {"stage": ...} or {"note": ...} as it goes, then {"made": ...} or
{"error": ..., "kind": ...}.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from hyperseg_runtime.errors import HypersegError, OutputError, ResourceError
from hyperseg_runtime.files.writing import NO_ROOM

Description = TypeVar("Description", bound=BaseModel)

_one_at_a_time = threading.Lock()


def say(content: dict[str, Any]) -> None:
    """One line, whole, whatever other threads say meanwhile."""
    line = json.dumps(content) + "\n"
    with _one_at_a_time:
        sys.stdout.write(line)
        sys.stdout.flush()


class Said:
    """Progress that the parent process passes on."""

    def stage(self, name: str, index: int, count: int) -> None:
        say({"stage": {"name": name, "index": index, "count": count}})

    def note(self, text: str) -> None:
        say({"note": text})

    def phase(self, name: str, step: int, steps: int) -> None:
        say({"progress": {"name": name, "step": step, "steps": steps}})

    def moved(self, name: str, done: int, total: int) -> None:
        say({"bytes": {"name": name, "done": done, "total": total}})


def keep_stdout() -> None:
    """From here on stdout is ours alone: what libraries print from C++ goes to stderr, not into our lines."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(own, "w", encoding="utf-8")


def run_job(kind: type[Description], work: Callable[[Description], BaseModel]) -> None:
    """Do the work that a file describes, named on the command line, and say how it went."""
    job = kind.model_validate_json(Path(sys.argv[1]).read_bytes())
    try:
        say({"made": work(job).model_dump(mode="json")})
    except HypersegError as error:
        say({"error": str(error), "kind": type(error).__name__})
    except MemoryError:
        say({"error": "the host's memory ran out; use a machine with more", "kind": ResourceError.__name__})
    except OSError as error:
        told = ResourceError if error.errno in NO_ROOM else OutputError
        say({"error": f"{error.filename}: {error.strerror}", "kind": told.__name__})
