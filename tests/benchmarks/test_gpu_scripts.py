"""What is asked of a first machine with a GPU. Here there is none: the scripts say so, and the double answers."""

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import gpu_checks
import pytest
import typed_graphs

from hyperseg_export.families.registry import EXPORT_FAMILIES
from support import FIRST_FAMILY

BENCHMARKS = Path(gpu_checks.__file__).parent


def test_a_machine_without_gpu_gives_no_numbers(tmp_path: Path) -> None:
    """And is no failure."""
    script = str(BENCHMARKS / "gpu_first_run.sh")
    environment = {**os.environ, "PYTHON": sys.executable}
    command = [script, "-o", tmp_path / "out", "kernels", "first-engines", "resize", "onnxruntime-cuda"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    kernels, engines, resize, onnxruntime, _ = done.stdout.splitlines()
    assert done.returncode == 0 and kernels == "kernels: not measured: no GPU, or torch is built without CUDA"
    assert engines.startswith("first-engines: not measured: TensorRT is missing")
    assert resize == "resize: not measured: no GPU, or torch is built without CUDA"
    assert onnxruntime.startswith("onnxruntime-cuda: not measured: this ONNX Runtime (onnxruntime) has no CUDA")
    assert not list((tmp_path / "out").glob("parts/*.done"))


def test_no_gpu_for_torch_gives_no_numbers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["typed_graphs.py"])
    typed_graphs.main()
    assert capsys.readouterr().out == "not measured: no GPU, or torch is built without CUDA\n"


def test_typed_graphs_are_compared_with_float32() -> None:
    rows = list(islice(typed_graphs.compare(EXPORT_FAMILIES[FIRST_FAMILY].random.model("small", 0), "cpu"), 8))
    assert {(row["graph"], row["precision"]) for row in rows} == {("image_encoder", "fp16"), ("image_encoder", "bf16")}
    assert all(row["passed"] and 0 < row["worst_error"] < row["tolerance"] for row in rows)


@pytest.mark.usefixtures("tensorrt_double")
def test_questions_are_answered_by_trying() -> None:
    masks = gpu_checks.attention_masks(None)["answer"]
    assert all(answer["built"] and answer["error / range"]["y"] < 1e-2 for answer in masks.values())
    assert gpu_checks.int4_weights(None)["answer"]["error / range"]["y"] < 1e-2
    assert gpu_checks.cuda_graphs(None)["answer"] == "not measured: no bundle"


@pytest.mark.usefixtures("tensorrt_double")
def test_a_check_that_crashes_is_an_answer() -> None:
    """The double knows no plugin of NVIDIA's."""
    assert gpu_checks.in_a_process("deformable_plugin", None)["answer"].startswith("ended with 1: ")
