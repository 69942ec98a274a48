"""A bundle folder: the only thing that passes from export to runtime. Nothing in it is trusted."""

import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hyperseg_runtime.bundle import manifest as manifests
from hyperseg_runtime.bundle.manifest import FileEntry, Manifest
from hyperseg_runtime.errors import BundleError
from hyperseg_runtime.files.hashing import HashFile, hash_file
from hyperseg_runtime.files.unreadable import MISSING, stand_in_of, why_no_folder

MAX_MANIFEST_BYTES = 64 * 2**20
HASH_THREADS = 4


@dataclass(frozen=True)
class Bundle:
    directory: Path
    manifest: Manifest

    @classmethod
    def read(cls, directory: str | Path) -> "Bundle":
        """With the manifest alone validated; `verified` looks at the files. Raises BundleError."""
        return cls(Path(directory), read_manifest(Path(directory)))

    @classmethod
    def open(cls, directory: str | Path, on_bytes: Callable[[int], None] = lambda count: None) -> "Bundle":
        """Validate the manifest, then every file; see `verified`."""
        return cls.read(directory).verified(on_bytes)

    def verified(
        self,
        on_bytes: Callable[[int], None] = lambda count: None,
        names: Iterable[str] | None = None,
        hash_of: HashFile = hash_file,
    ) -> "Bundle":
        """The same bundle with the kind, size and hash of every file checked, or of those in `names` alone.

        `on_bytes` is told how many bytes were hashed, for progress; `hash_of` may be `remembered_hash`. Raises
        BundleError naming the first file that is missing, changed or leads out of the folder.
        """
        chosen = self.manifest.files if names is None else {name: self._entry(name) for name in names}
        with _readable(self.directory):
            for path, entry in chosen.items():
                self._check_kind_and_size(path, entry)
            with ThreadPoolExecutor(HASH_THREADS) as pool:
                checks = [pool.submit(self._check_hash, *item, on_bytes, hash_of) for item in chosen.items()]
                for check in checks:
                    check.result()
        return self

    def path(self, name: str) -> Path:
        """A file of the bundle. Raises BundleError for one that the manifest does not list, so was not checked."""
        self._entry(name)
        return self.directory / name

    def _entry(self, name: str) -> FileEntry:
        if name not in self.manifest.files:
            raise BundleError(
                f"bundle {self.directory}: {name} is not listed in {manifests.FILE_NAME}; export it again"
            )
        return self.manifest.files[name]

    def _check_kind_and_size(self, name: str, entry: FileEntry) -> None:
        path = self.directory
        for part in Path(name).parts:
            path = path / part
            if path.is_symlink():
                raise BundleError(_linked(self.directory, name))
        if not path.is_file() or not stat.S_ISREG(path.stat().st_mode):
            raise BundleError(f"bundle {self.directory}: {name} is missing; export it again")
        size = path.stat().st_size
        if size != entry.size_bytes and (what := stand_in_of(path)):
            raise BundleError(f"bundle {self.directory}: {name} is {what}")
        if size != entry.size_bytes:
            raise BundleError(
                f"bundle {self.directory}: {name} has {size} bytes, the manifest says {entry.size_bytes}; "
                "it is damaged or half copied"
            )

    def _check_hash(self, name: str, entry: FileEntry, on_bytes: Callable[[int], None], hash_of: HashFile) -> None:
        if hash_of(self.directory / name, on_bytes) != entry.sha256:
            raise BundleError(
                f"bundle {self.directory}: the content of {name} differs from the manifest's hash; "
                "it was changed after the export"
            )


def read_manifest(directory: Path) -> Manifest:
    """The manifest alone, validated; no other file is looked at."""
    if reason := why_no_folder(directory):
        missing = "no such folder; make one with: hyperseg-trt export CHECKPOINT BUNDLE"
        raise BundleError(f"bundle {directory}: {missing if reason == MISSING else reason}")
    path = directory / manifests.FILE_NAME
    with _readable(directory):
        return manifests.parse_manifest(_manifest_bytes(directory, path))


def _manifest_bytes(directory: Path, path: Path) -> bytes:
    if path.is_symlink():
        raise BundleError(_linked(directory, manifests.FILE_NAME))
    if not path.is_file():
        raise BundleError(f"bundle {directory}: {manifests.FILE_NAME} is missing; this is not a finished bundle")
    if what := stand_in_of(path):
        raise BundleError(f"bundle {directory}: {manifests.FILE_NAME} is {what}")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"bundle {directory}: {manifests.FILE_NAME} is larger than {MAX_MANIFEST_BYTES} bytes")
    return path.read_bytes()


def _linked(directory: Path, name: str) -> str:
    return (
        f"bundle {directory}: {name} goes through a link, as in the cache of Hugging Face; bundles hold plain files, "
        f"because what a link leads to can change: make a copy without links, `cp -rL {directory} COPY`, and use that"
    )


@contextmanager
def _readable(directory: Path) -> Iterator[None]:
    """Turn the operating system's refusal to read into our error."""
    try:
        yield
    except OSError as error:
        raise BundleError(f"bundle {directory}: {error.filename} cannot be read ({error.strerror})") from error


def describe_file(path: Path, hash_of: HashFile = hash_file) -> FileEntry:
    return FileEntry(size_bytes=path.stat().st_size, sha256=hash_of(path, lambda count: None))
