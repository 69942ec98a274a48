"""`hyperseg-trt doctor`: what this machine has of what the verbs need."""

from dataclasses import asdict
from pathlib import Path

from hyperseg_runtime import console
from hyperseg_runtime import doctor as machine
from hyperseg_runtime.cli import options


def doctor(as_json: options.JsonOption = False) -> None:
    """Show what this machine has of what the verbs need, and how to get the rest."""
    findings = machine.examine(Path.cwd())
    if as_json:
        console.print_json({"findings": [asdict(finding) for finding in findings]})
        return
    console.print_rows(
        "This machine",
        ("part", "state", "found", "needed for"),
        [(f.part, "ok" if f.works else "missing", f.found, f.needed_for) for f in findings],
    )
    for finding in findings:
        if finding.advice:
            console.out.print(f"{finding.part}: {finding.advice}", markup=False)
