"""The script for a first GPU, with a Python that only says what it is asked: order, resuming, verdicts, one report."""

import os
import subprocess
from pathlib import Path

import gpu_checks
import pytest

SCRIPT = Path(gpu_checks.__file__).with_name("gpu_first_run.sh")
STUB = """#!/bin/sh
# Answers for an interpreter: what is missing, and whether a command fails or never ends.
echo "$*" >> "$CALLS"
case "$*" in
    *--missing*) for need in $LACKS; do case "$*" in *"--missing $need"*) echo "$need is missing" ;; esac; done ;;
    *hyperseg_export.families.registry*) mkdir -p "$4" && echo "{}" > "$4/config.json" ;;
    *" export "*) mkdir -p "$5" && echo "{}" > "$5/manifest.json" ;;
esac
for word in $BREAKS; do case "$*" in *"$word"*) echo "it broke"; exit 3 ;; esac; done
for word in $HANGS; do case "$*" in *"$word"*) sleep 30 ;; esac; done
"""


class Machine:
    """Runs the script and tells what came of it."""

    def __init__(self, folder: Path) -> None:
        self.out, self.calls, self._python = folder / "out", folder / "calls", folder / "python"
        self._python.write_text(STUB)
        self._python.chmod(0o755)

    def run(self, *parts: str, lacks: str = "", breaks: str = "", hangs: str = "", part_s: int = 60) -> dict[str, str]:
        """Part -> verdict; `code` is the exit status."""
        self.calls.write_text("")
        environment = {**os.environ, "PYTHON": str(self._python), "CALLS": str(self.calls), "PART_S": str(part_s)}
        environment |= {"LACKS": lacks, "BREAKS": breaks, "HANGS": hangs, "TENSORRT_ROOT": ""}
        command = [SCRIPT, "-o", self.out, *parts]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        self.code = done.returncode
        lines = [line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line]
        return dict(lines)

    @property
    def asked(self) -> list[str]:
        return self.calls.read_text().splitlines()

    @property
    def report(self) -> str:
        return (self.out / "report.md").read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def listed() -> dict[str, str]:
    """Part -> what it needs, in the script's order."""
    shown = subprocess.run([SCRIPT, "--list"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0]: line.split()[1] for line in shown.splitlines()}


def test_parts_for_torch_stand_apart_from_those_for_tensorrt() -> None:
    parts = listed()
    assert list(parts)[:3] == ["machine", "device-memory", "first-engines"]
    for_torch = {"kernels", "resize", "memory-checker", "typed-modules"}
    assert {name for name, need in parts.items() if need == "torch"} == for_torch
    assert set(parts.values()) == {"nothing", "cuda", "torch", "tensorrt", "onnxruntime-cuda", "nvcc"}


def test_what_a_machine_lacks_is_not_measured_and_no_failure(machine: Machine) -> None:
    verdicts = machine.run(lacks="cuda torch tensorrt onnxruntime-cuda")
    assert machine.code == 0 and list(verdicts) == list(listed())
    for name, need in listed().items():
        assert verdicts[name] == "done" if need == "nothing" else verdicts[name].startswith("not measured: ")
    assert machine.report.count("**not measured: tensorrt is missing**") == list(listed().values()).count("tensorrt")
    assert machine.run("kernels", lacks="tensorrt") == {"kernels": "done"}  # torch is enough for it


def test_a_part_is_done_once_and_again_when_it_is_named(machine: Machine) -> None:
    assert machine.run("first-engines") == {"first-engines": "done"}
    first = machine.asked
    assert any(" export " in call for call in first) and sum(" build " in call for call in first) == 2
    assert "**not measured: not tried yet**" in machine.report
    assert machine.run()["first-engines"] == "done before"
    assert machine.run("first-engines") == {"first-engines": "done"}
    assert not any(" export " in call for call in machine.asked)  # the bundle is there


def test_a_failure_is_told_and_the_next_part_runs(machine: Machine) -> None:
    verdicts = machine.run("first-engines", "kernels", breaks="build")
    assert verdicts == {"first-engines": "failed", "kernels": "done"} and machine.code == 1
    assert "exit code 3" in machine.report and "it broke" in machine.report
    assert not any(" run " in call for call in machine.asked)  # nothing is asked of engines that are not there


def test_a_part_ends_in_its_time_and_goes_on_when_called_again(machine: Machine) -> None:
    verdicts = machine.run("engines", "machine", hangs="build", part_s=2)
    assert verdicts == {"engines": "ran out of its 2 s; call it again to go on", "machine": "done"}
    assert machine.code == 0 and "exit code 124" in machine.report
    assert machine.run()["engines"] == "done" and machine.run()["machine"] == "done before"


def test_an_unknown_part_is_refused(machine: Machine) -> None:
    assert machine.run("everything") == {} and machine.code == 2 and not machine.out.exists()


def test_every_check_and_script_that_parts_name_is_there() -> None:
    text = SCRIPT.read_text()
    root = SCRIPT.parents[2]
    for name in (word for line in text.splitlines() if 'check "$' in line for word in line.split('" ')[-1].split()):
        if name not in (";;", "}") and not name.startswith("$"):
            assert name in gpu_checks.CHECKS, name
    for word in text.split():
        path = word.strip('"')
        if path.startswith(("benchmarks/", "kernels/", "export/")) and "*" not in path:
            assert (root / path).exists(), path
