"""What tests share: golden arrays, one tiny checkpoint and bundle for the whole run, the command line."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hyperseg_runtime import console
from hyperseg_runtime.cli.app import make_app
from support import (
    FIRST_FAMILY,
    CliResult,
    RunCli,
    doubled,
    family_bundle,
    family_checkpoint,
    made_once,
)

pytest_plugins = ["bundle_fixtures"]

Compiled = TypeVar("Compiled")
TESTS = Path(__file__).parent
GOLDEN = TESTS / "golden" / FIRST_FAMILY
PHOTOS = TESTS.parent / "export" / "hyperseg_export" / "samples"


LONGEST_FIRST = (
    "test_contract.py",
    "test_golden.py",
    "test_build.py",
    "test_slots.py",
    "test_rtx_gate.py",
    "served",
    "hostile",
)
"""Two workers take whole files: the long ones start early. pytest-xdist 3.8 sorts files by their number of
tests instead, unless it is told --no-loadscope-reorder."""
ONE_SERVER = ("tests/serving/served", "tests/serving/gateway/hostile")
"""Folders whose files share a server, which the last of them stops or breaks: one worker takes all, in their order."""


SLOW_TO_MAKE = frozenset({"trained_bundle", "kept_bundle"})
"""Fixtures that take a minute each, and whose tests are slow therefore."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SLOW_TO_MAKE.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)

    def rank(item: pytest.Item) -> int:
        places = [
            LONGEST_FIRST.index(name) for name in (item.path.name, item.path.parent.name) if name in LONGEST_FIRST
        ]
        return min(places, default=9)

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class ByServer(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder = nodeid.partition("::")[0].rpartition("/")[0]
            return folder if folder in ONE_SERVER else str(super()._split_scope(nodeid))

    return ByServer(config, log)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Arrays made by the original code; read only."""
    return GOLDEN


@pytest.fixture(scope="session")
def coffee() -> Path:
    """A photograph, 600 x 400."""
    return PHOTOS / "coffee.jpg"


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers of this run; what is expensive is made there once."""
    base = tmp_path_factory.getbasetemp()
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    folder = base.parent / f"shared-{run}" if run else base / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(shared_dir: Path) -> Path:
    """The first family's tiny checkpoint of seed 0; read only (see `checkpoint_copy`)."""
    return family_checkpoint(shared_dir, FIRST_FAMILY)


@pytest.fixture(scope="session")
def tiny_bundle(shared_dir: Path) -> Path:
    """The bundle of `tiny_checkpoint`, parity measured; read only (see `bundle_copy`)."""
    return family_bundle(shared_dir, FIRST_FAMILY)


@pytest.fixture(scope="session")
def compiled(shared_dir: Path) -> Callable[[Callable[[], Compiled]], Compiled]:
    """Calls what compiles C++, once for all workers of this run; skips where there is no compiler."""
    from hyperseg_kernels import native

    def make(compile_it: Callable[[], Compiled]) -> Compiled:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(shared_dir))
            try:
                native.find_compiler()
            except native.NativeBuildError as error:
                pytest.skip(str(error))
            return compile_it()

    return make


@pytest.fixture(scope="session")
def cpu_op_library(compiled: Callable[[Callable[[], Path]], Path]) -> Path:
    """Our native operators for ONNX Runtime."""
    from hyperseg_kernels import cpu_ops

    return compiled(cpu_ops.library)


@pytest.fixture(scope="session")
def mixed_bundle(shared_dir: Path) -> Path:
    """A bundle of the smallest graphs in the preset "mixed", parity measured; read only.

    Head widths are multiples of 8 from 16 on, as in the published model: others have no fused bf16 kernel.
    """
    from hyperseg_export.export import ExportOptions, export_bundle
    from hyperseg_export.families.registry import EXPORT_FAMILIES

    def make(folder: Path) -> None:
        checkpoint = folder.with_name("mixed-checkpoint")
        checkpoint.mkdir()
        EXPORT_FAMILIES[FIRST_FAMILY].random.write(checkpoint, "small", 0)
        export_bundle(checkpoint, folder, ExportOptions(precision="mixed"))

    return made_once(shared_dir / "mixed", make)


@pytest.fixture
def tensorrt_double() -> Iterator[None]:
    """See `doubled`."""
    with doubled():
        yield


@pytest.fixture(scope="session")
def engine_bundle(shared_dir: Path, tiny_bundle: Path) -> Path:
    """`tiny_bundle` with engines of the double, compared with their graphs; read only."""
    from hyperseg_export.engine.build import build_engines
    from hyperseg_export.engine.options import BuildOptions

    def make(folder: Path) -> None:
        shutil.copytree(tiny_bundle, folder)
        with doubled():
            build_engines(folder, BuildOptions())

    return made_once(shared_dir / "engines", make)


@pytest.fixture
def checkpoint_copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint to break."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


@pytest.fixture
def bundle_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle to break."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunCli:
    """Run the command line in this process."""

    def run(*arguments: object) -> CliResult:
        monkeypatch.setattr("sys.argv", ["hyperseg-trt", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            console.run_app(make_app())
        captured = capsys.readouterr()
        code = stop.value.code
        return CliResult(code if isinstance(code, int) else 1, captured.out, captured.err)

    return run
