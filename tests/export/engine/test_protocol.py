"""Lines of a worker stay whole: TensorRT reports from several threads, and libraries print where we do."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine_graphs import CONVOLUTION, convolution
from hyperseg_export.engine import worker
from hyperseg_export.engine.options import BuildOptions
from hyperseg_export.engine.worker import Built, Job
from hyperseg_export.jobs.process import run_worker
from hyperseg_export.jobs.progress import Silent
from hyperseg_runtime.contracts.precision import Precision
from support import forget_doubles


class Phases(Silent):
    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def phase(self, name: str, step: int, steps: int) -> None:
        self.seen.append((name, step, steps))


@pytest.mark.usefixtures("tensorrt_double")
def test_a_build_reports_from_four_threads_and_the_library_prints(tmp_path: Path) -> None:
    """The double's library leaves a line without an end on stdout just before it goes on."""
    job = Job(
        family="hyperseg",
        onnx=convolution(tmp_path / "small.onnx"),
        spec=CONVOLUTION,
        precision=Precision.BF16,
        options=BuildOptions(),
        timing_cache=tmp_path / "timing.cache",
        plan=tmp_path / "small.plan",
        plugins=(),
        architecture="sm_90",
    )
    phases = Phases()
    made = run_worker("hyperseg_export.engine.worker", "small", job, Built, phases)
    assert made.layer_types == {"bfloat16": 2, "float32": 1}
    assert len(phases.seen) == 4 * 50 + 1 and ("Building", 1, 1) in phases.seen
    for thread in range(4):
        assert [step for name, step, _ in phases.seen if name == f"Tactics {thread}"] == list(range(1, 51))


def test_no_line_is_torn_by_many_threads() -> None:
    program = (
        "import sys, threading\n"
        "sys.setswitchinterval(1e-6)\n"
        "from hyperseg_export.jobs.worker import say\n"
        "work = lambda n: [say({'thread': n, 'step': step}) for step in range(2000)]\n"
        "threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 8000


def test_what_libraries_print_goes_to_stderr() -> None:
    program = (
        "import os\n"
        "from hyperseg_export.jobs.worker import keep_stdout, say\n"
        "keep_stdout()\n"
        "os.write(1, b'from C++')\n"
        "say({'made': 1})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ('{"made": 1}\n', "from C++")


@pytest.mark.parametrize("line", ["", "{torn", "[1]", "null", "3", '"words"'])
def test_lines_that_are_not_ours_are_passed_over(line: str, tmp_path: Path) -> None:
    module = tmp_path / "chatty_worker.py"
    made = Built(layer_types={}, plugin_layers=0, decomposed_attention=0, build_seconds=1.0).model_dump(mode="json")
    module.write_text(f"print({line!r})\nprint({json.dumps({'made': made})!r})\nprint({line!r})\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
        assert run_worker("chatty_worker", "small", Built.model_validate(made), Built, Silent()) == Built(**made)


@pytest.mark.usefixtures("tensorrt_double")
def test_timings_of_another_gpu_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT reads such a cache and refuses to attach it; then there would be none."""
    path = tmp_path / "timing.cache"

    def built(gpu: str) -> bytes:
        monkeypatch.setenv("DOUBLE_GPU_NAME", gpu)
        forget_doubles()
        trt: Any = worker.load_tensorrt()
        config = trt.Builder(trt.ILogger()).create_builder_config()
        worker._use_timings(config, path)
        worker._keep_timings(config, path)
        return path.read_bytes()

    assert built("One GPU").count(b"timed") == 1 and built("One GPU").count(b"timed") == 2
    assert built("Other GPU").count(b"timed") == 1
    path.write_bytes(b"damaged")
    assert built("Other GPU").count(b"timed") == 1
