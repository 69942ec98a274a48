"""Work in a process of its own: what it says on the way, how it ended."""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from hyperseg_export.jobs.progress import Progress
from hyperseg_runtime import errors
from hyperseg_runtime.errors import EngineError, ResourceError

Made = TypeVar("Made", bound=BaseModel)


def run_worker(module: str, graph: str, job: BaseModel, kind: type[Made], progress: Progress) -> Made:
    """Run `module` with the file of `job`; what it made. Raises what it raised, EngineError if it crashed,
    ResourceError if it was killed.
    """
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
            said = stderr.read().strip().splitlines()[-3:]
    if "made" in last:
        return kind.model_validate(last["made"])
    if "error" in last:
        raise getattr(errors, str(last["kind"]))(last["error"])
    if worker.returncode in (-signal.SIGKILL, 137):
        raise ResourceError(f"graph {graph}: the build was killed, most likely because the host's memory ran out")
    raise EngineError(f"graph {graph}: the build ended with {worker.returncode}: {' | '.join(said)}")


def _follow(worker: "subprocess.Popen[str]", progress: Progress) -> dict[str, object]:
    """Pass progress on; the last message that is not progress."""
    last: dict[str, object] = {}
    assert worker.stdout is not None
    for line in worker.stdout:
        if not line.startswith("{"):  # the library prints too
            continue
        message = json.loads(line)
        if phase := message.get("progress"):
            progress.phase(phase["name"], phase["step"], phase["steps"])
        else:
            last = message
    return last
