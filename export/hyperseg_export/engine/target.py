"""The engines of one target on disk, and the list of them, which never names a file that is another one."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperseg_runtime.bundle.engines import (
    FILE_NAME,
    PLUGINS,
    EngineEntry,
    EngineManifest,
    Machine,
    engine_path,
    plugin_libraries,
    read_engines,
)
from hyperseg_runtime.bundle.manifest import FileEntry
from hyperseg_runtime.bundle.opening import describe_file
from hyperseg_runtime.errors import BundleError, OutputError
from hyperseg_runtime.files.writing import explained, write_atomically


class Target:
    """`manifest` is what the target has so far: nothing if another patch release of TensorRT made what is there."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        found = read_engines(folder)
        engines = found.engines if found is not None and found.machine.fits(machine) else ()
        self.folder = folder
        self.manifest = EngineManifest(machine=machine, engines=engines)

    def plan(self, graph: str) -> Path:
        """Where the engine of a graph lies."""
        return self.folder / f"{graph}.plan"

    def has(self, graph: str, key: str) -> bool:
        """Whether this very engine is there, whole."""
        engine = self.manifest.engine(graph)
        if engine is None or engine.key != key:
            return False
        try:
            engine_path(self.folder, engine)
            plugin_libraries(self.folder, engine)
        except BundleError:
            return False
        return True

    def place(self, graph: str, partial: Path) -> None:
        """Let a finished plan take the place of the one before."""
        self._forget(graph)
        with explained(self.folder):
            partial.replace(self.plan(graph))

    def carry(self, library: Path) -> FileEntry:
        """Copy a library of plugins beside the engines that need it."""
        folder = self.folder / PLUGINS
        with explained(folder):
            folder.mkdir(exist_ok=True)
            write_atomically(folder / library.name, library.read_bytes())
        return describe_file(folder / library.name)

    def record(self, engine: EngineEntry) -> None:
        """Enter an engine that is there."""
        others = tuple(other for other in self.manifest.engines if other.graph != engine.graph)
        self._write((*others, engine))

    def throw_away(self, graph: str) -> None:
        """The engine and its entry."""
        self._forget(graph)
        self.plan(graph).unlink()

    def _forget(self, graph: str) -> None:
        """Before the file changes."""
        if self.manifest.engine(graph):
            self._write(tuple(other for other in self.manifest.engines if other.graph != graph))

    def _write(self, engines: tuple[EngineEntry, ...]) -> None:
        self.manifest = self.manifest.model_copy(update={"engines": engines})
        write_atomically(self.folder / FILE_NAME, self.manifest.to_bytes())


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Two builds of one target would write the same files. Raises OutputError while another one runs."""
    path = folder / ".lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat())
        except OSError:
            taken = False
        if not taken:  # or another build has just ended, and its lock went with it
            raise OutputError(f"{folder}: another build is writing here; wait for it to finish")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
