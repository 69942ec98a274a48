"""Do two runs of `hyperseg-trt bench` on this machine, now, agree? Ask on a machine that does nothing else.

    python benchmarks/latency/agreement_of_runs.py BUNDLE [FOLDER] [OPTIONS OF BENCH...]

Ends with 1 where fewer than 19 of 20 rows agree within their own intervals, or an interval is wider than a tenth of
its median. Both runs and their comparison stay in FOLDER.
"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from hyperseg_bench.latency.run_files import SAMPLES
from hyperseg_bench.latency.run_tables import print_comparison
from hyperseg_bench.latency.two_runs import compare
from hyperseg_runtime import console
from hyperseg_runtime.console import json_bytes
from hyperseg_runtime.files.writing import write_atomically

AGREEING, WIDEST = 19 / 20, 0.1

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def two_runs(
    context: typer.Context,
    bundle: Path,
    folder: Annotated[Path, typer.Argument(help="For both runs.")] = Path("build/two-runs"),
) -> None:
    """Run twice, compare, judge."""
    for name in ("first", "second"):
        if not (folder / name / SAMPLES).is_file():
            asked = ["bench", str(bundle), *context.args, "--out", str(folder / name)]
            subprocess.run([sys.executable, "-m", "hyperseg_runtime", *asked], check=True)
    content = compare(folder / "first", folder / "second")
    write_atomically(folder / "comparison.json", json_bytes(content))
    print_comparison(content)
    told = [row for row in content["rows"] if row["verdict"]]
    wide = [row for row in told if row["width"] > WIDEST]
    console.out.print(
        f"{len(wide)} of {len(told)} intervals are wider than {WIDEST:.0%} of their medians", markup=False
    )
    if not told or wide or content["agreeing"] < AGREEING * content["told"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    console.run_app(app)
