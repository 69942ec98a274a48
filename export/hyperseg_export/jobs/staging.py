"""Work that survives being killed: finished steps are kept beside the target until everything is done."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hyperseg_export.jobs.replacing import require_replaceable
from hyperseg_runtime.bundle.manifest import FileEntry
from hyperseg_runtime.bundle.opening import describe_file
from hyperseg_runtime.errors import HypersegError, InputError, OutputError, ResourceError
from hyperseg_runtime.files.hashing import remembered_hash
from hyperseg_runtime.files.locking import lock
from hyperseg_runtime.files.writing import explained, fsync_directory, replace_folder, write_atomically

RECORDS = ".steps"

Work = Callable[[Path], tuple[Iterable[str], dict[str, Any]]]
"""Does a step inside the given folder; returns the files it wrote and facts to remember."""


@dataclass(frozen=True)
class StepResult:
    """What a step leaves: files relative to the staging folder, and facts as JSON."""

    files: dict[str, FileEntry]
    facts: dict[str, Any]


def require_apart(target: Path, *sources: Path) -> None:
    """InputError if writing `target` would take the place of a folder that is read."""
    for source in sources:
        if source.resolve().is_relative_to(target.resolve()):
            raise InputError(f"{target}: it would take the place of {source}; give a new folder")


class Staging:
    """A folder `.NAME.MARK` beside the target, renamed to the target when all steps are done.

    Steps run in a fixed order. A step whose key, files, sizes and hashes are as recorded is skipped; the
    first one that is not, and all after it, run again. A killed process leaves the folder for the next
    try; an error removes it, because what failed once with this input would fail again, unless `keep` was called.
    Different kinds of work on one target need different marks: neither may find what the other left.
    """

    def __init__(self, target: Path, overwrite: bool, mark: str = "partial", keeps_others: bool = False) -> None:
        """`keeps_others`: what others put into the target will be in the new one, too (see `require_replaceable`)."""
        target = target.absolute()  # "." has no name
        self.target = target
        self.directory = target.with_name(f".{target.name}.{mark}")
        self._overwrite = overwrite
        self._keeps_others = keeps_others
        self._replaying = True
        self._kept = False
        self._lock: TextIOWrapper | None = None
        self.resumed: list[str] = []

    def __enter__(self) -> Self:
        require_replaceable(self.target, self._overwrite, self._keeps_others)
        with explained(self.target):
            self.directory.mkdir(parents=True, exist_ok=True)
            (self.directory / RECORDS).mkdir(exist_ok=True)
            self._lock = (self.directory / RECORDS / "lock").open("w")
        try:
            lock(self._lock.fileno(), self.target)
        except OutputError:
            self._lock.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, HypersegError | OSError) and not self._kept:
            shutil.rmtree(self.directory, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def keep(self) -> None:
        """From here on an error leaves the finished steps for the next try: what follows only looks at them."""
        self._kept = True

    def require_room(self, needed_bytes: int) -> None:
        """ResourceError before anything is written, if the disk cannot hold the result."""
        present = sum(path.stat().st_size for path in self.directory.rglob("*") if path.is_file())
        free = shutil.disk_usage(self.directory).free
        if needed_bytes - present > free:
            raise ResourceError(
                f"{self.target}: it takes about {(needed_bytes - present) / 1e9:.1f} GB, "
                f"the disk has {free / 1e9:.1f} GB free"
            )

    def run(self, name: str, key: str, work: Work) -> StepResult:
        """The recorded result of step `name`, or that of doing `work` now."""
        record = self.directory / RECORDS / f"{name}.json"
        if self._replaying and (result := self._recorded(record, key)):
            self.resumed.append(name)
            return result
        self._replaying = False
        record.unlink(missing_ok=True)
        with explained(self.directory):
            files, facts = work(self.directory)
            described = {file: describe_file(self.directory / file) for file in files}
        content = {
            "key": key,
            "files": {file: entry.model_dump() for file, entry in described.items()},
            "facts": facts,
        }
        write_atomically(record, json.dumps(content).encode())
        return StepResult(described, facts)

    def commit(self, keep: Iterable[str]) -> None:
        """Make the target: exactly the files in `keep`, down on the disk before the name appears.

        What came to the target meanwhile stays, and so do the finished steps: OutputError.
        """
        wanted = set(keep)
        try:
            require_replaceable(self.target, self._overwrite, self._keeps_others)
        except OutputError:
            self.keep()
            raise
        with explained(self.target):
            shutil.rmtree(self.directory / RECORDS)
            for path in sorted(self.directory.rglob("*"), reverse=True):
                name = str(path.relative_to(self.directory))
                if path.is_dir():
                    if any(path.iterdir()):
                        fsync_directory(path)
                    else:
                        path.rmdir()
                elif name not in wanted:
                    path.unlink()
            fsync_directory(self.directory)
            replace_folder(self.directory, self.target)
            fsync_directory(self.target.parent)

    def _recorded(self, record: Path, key: str) -> StepResult | None:
        try:
            content = json.loads(record.read_bytes())
            files = {name: FileEntry.model_validate(entry) for name, entry in content["files"].items()}
            found = {name: describe_file(self.directory / name, remembered_hash) for name in files}
            return StepResult(files, content["facts"]) if content["key"] == key and found == files else None
        except (OSError, ValueError, KeyError, AttributeError):
            return None


def content_key(*parts: object) -> str:
    """Key of a step: equal parts (anything JSON can hold), equal key."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
