"""Work in a process of its own: what it says on the way, how it ended."""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from hyperseg_export.jobs.memory import kills
from hyperseg_export.jobs.progress import Progress
from hyperseg_runtime import errors
from hyperseg_runtime.errors import EngineError, ResourceError

Made = TypeVar("Made", bound=BaseModel)


def run_worker(module: str, what: str, job: BaseModel, kind: type[Made], progress: Progress, advice: str = "") -> Made:
    """Run `module` with the file of `job`; what it made. `what` is its name in words.

    Raises what it raised, EngineError if it crashed, ResourceError if it was killed, which ends with `advice`.
    """
    killed_before = kills()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "job.json"
        path.write_text(job.model_dump_json())
        command = [sys.executable, "-m", module, str(path)]
        with (
            (Path(scratch) / "stderr").open("w+") as stderr,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as worker,
        ):
            try:
                last = _follow(worker, progress)
            except BaseException:
                worker.kill()
                raise
            worker.wait()
            stderr.seek(0)
            message = stderr.read().strip().splitlines()[-3:]
    if "made" in last:
        return kind.model_validate(last["made"])
    if "error" in last:
        raise getattr(errors, str(last["kind"]))(last["error"])
    if worker.returncode in (-signal.SIGKILL, 137):
        why = "because" if kills() > killed_before else "most likely because"
        raise ResourceError(f"{what} was killed, {why} the host's memory ran out{advice}")
    raise EngineError(f"{what} ended with {worker.returncode}: {' | '.join(message)}")


def _follow(worker: "subprocess.Popen[str]", progress: Progress) -> dict[str, object]:
    """Pass progress on; the last message that is not progress."""
    last: dict[str, object] = {}
    assert worker.stdout is not None
    for line in worker.stdout:
        try:
            message = json.loads(line)
        except ValueError:  # not ours
            continue
        if not isinstance(message, dict):
            continue
        if phase := message.get("progress"):
            progress.phase(**phase)
        elif done := message.get("bytes"):
            progress.moved(**done)
        elif stage := message.get("stage"):
            progress.stage(**stage)
        elif note := message.get("note"):
            progress.note(note)
        else:
            last = message
    return last
