"""Programs on a machine that has the packages of some extras and no others."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
OURS = ("hyperseg_export", "hyperseg_runtime", "hyperseg_kernels", "hyperseg_serving", "hyperseg_bench")
BLOCKER = """
import os, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in os.environ["BLOCKED"].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])

sys.meta_path.insert(0, Blocked())
"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(extras: str | None) -> list[str]:
    """What pyproject.toml asks for: always, and with extras such as "cpu,trt"."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    more = [
        needed for extra in (extras or "").split(",") if extra for needed in project["optional-dependencies"][extra]
    ]
    return [*project["dependencies"], *more]


def extras_in(text: str) -> list[set[str]]:
    """The extras that each install line of our own names, those that others bring with them."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found = []
    for names in re.findall(r"(?:'\.|/src|hyperseg-trt)\[([\w,-]+)\]", text):
        named = set(names.split(","))
        named |= {own for name in named for needed in groups[name] for own in own_extras(needed)}
        found.append(named)
    return found


def own_extras(requirement: str) -> set[str]:
    parsed = Requirement(requirement)
    return parsed.extras if parsed.name == "hyperseg-trt" else set()


def closure(requirements: list[str]) -> set[str]:
    """Distributions that come with them, as far as they are installed here."""
    found: set[str] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = normal(requirement.name)
        if name in found and not requirement.extras:
            continue
        found.add(name)
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue
        for own in ("", *requirement.extras):
            waiting += [(Requirement(text), own) for text in needed]
    return found


def foreign_modules(extra: str | None) -> Iterator[str]:
    """Top-level modules that are installed here and not with this extra."""
    there = closure(declared(extra))
    for module, owners in packages_distributions().items():
        if module not in OURS and not {normal(owner) for owner in owners} & there:
            yield module


def run_with(extra: str | None, folder: Path, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a Python program, and what it starts, where modules of other extras cannot be imported."""
    (folder / "sitecustomize.py").write_text(BLOCKER)
    # The doubles stand for packages of the extra; the test runner's own modules hurt nobody.
    blocked = [name for name in foreign_modules(extra) if name not in ("tensorrt", "cuda", "_pytest", "pytest")]
    known = os.environ.get("PYTHONPATH", "")
    paths = [str(folder), *(str(ROOT / name) for name in ("export", "runtime", "kernels", "triton_repo", "benchmarks"))]
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "BLOCKED": ",".join(blocked), "PYTHONPATH": os.pathsep.join([*paths, known])},
        capture_output=True,
        text=True,
        check=False,
    )
