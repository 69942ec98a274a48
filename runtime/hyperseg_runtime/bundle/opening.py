"""A bundle folder: the only thing that passes from export to runtime. Nothing in it is trusted."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hyperseg_runtime.bundle import manifest as manifests
from hyperseg_runtime.bundle.manifest import FileEntry, Manifest
from hyperseg_runtime.errors import BundleError

MAX_MANIFEST_BYTES = 64 * 2**20
TOKENIZER_FILE = "tokenizer.json"
HASH_THREADS = 4


@dataclass(frozen=True)
class Bundle:
    directory: Path
    manifest: Manifest

    @classmethod
    def open(cls, directory: str | Path, on_bytes: Callable[[int], None] = lambda count: None) -> "Bundle":
        """Validate the manifest, then every file's kind, size and hash.

        `on_bytes` is told how many bytes were hashed, for progress. Raises BundleError naming the first
        file that is missing, changed or leads out of the folder.
        """
        root = Path(directory)
        bundle = cls(root, read_manifest(root))
        with _readable(root):
            for path, entry in bundle.manifest.files.items():
                bundle._check_kind_and_size(path, entry)
            with ThreadPoolExecutor(HASH_THREADS) as pool:
                checks = (
                    pool.submit(bundle._check_hash, path, entry, on_bytes)
                    for path, entry in bundle.manifest.files.items()
                )
                for check in list(checks):
                    check.result()
        return bundle

    def path(self, name: str) -> Path:
        """A file of the bundle. Raises BundleError for one that the manifest does not list, so was not checked."""
        if name not in self.manifest.files:
            raise BundleError(
                f"bundle {self.directory}: {name} is not listed in {manifests.FILE_NAME}; export it again"
            )
        return self.directory / name

    def _check_kind_and_size(self, name: str, entry: FileEntry) -> None:
        path = self.directory
        for part in Path(name).parts:
            path = path / part
            if path.is_symlink():
                raise BundleError(f"bundle {self.directory}: {name} goes through a link; bundles hold plain files")
        if not path.is_file() or not stat.S_ISREG(path.stat().st_mode):
            raise BundleError(f"bundle {self.directory}: {name} is missing; export it again")
        size = path.stat().st_size
        if size != entry.size_bytes:
            raise BundleError(
                f"bundle {self.directory}: {name} has {size} bytes, the manifest says {entry.size_bytes}; "
                "it is damaged or half copied"
            )

    def _check_hash(self, name: str, entry: FileEntry, on_bytes: Callable[[int], None]) -> None:
        if hash_file(self.directory / name, on_bytes) != entry.sha256:
            raise BundleError(
                f"bundle {self.directory}: the content of {name} differs from the manifest's hash; "
                "it was changed after the export"
            )


def read_manifest(directory: Path) -> Manifest:
    """The manifest alone, validated; no other file is looked at."""
    if not os.path.isdir(directory):  # noqa: PTH112  (Path.is_dir raises for names that are too long)
        raise BundleError(f"bundle {directory}: no such folder; make one with: hyperseg-trt export CHECKPOINT BUNDLE")
    path = directory / manifests.FILE_NAME
    with _readable(directory):
        return manifests.parse_manifest(_manifest_bytes(directory, path))


def _manifest_bytes(directory: Path, path: Path) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"bundle {directory}: {manifests.FILE_NAME} is missing; this is not a finished bundle")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"bundle {directory}: {manifests.FILE_NAME} is larger than {MAX_MANIFEST_BYTES} bytes")
    return path.read_bytes()


@contextmanager
def _readable(directory: Path) -> Iterator[None]:
    """Turn the operating system's refusal to read into our error."""
    try:
        yield
    except OSError as error:
        raise BundleError(f"bundle {directory}: {error.filename} cannot be read ({error.strerror})") from error


def hash_file(path: Path, on_bytes: Callable[[int], None] = lambda count: None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**22):
            digest.update(chunk)
            on_bytes(len(chunk))
    return digest.hexdigest()


def describe_file(path: Path) -> FileEntry:
    return FileEntry(size_bytes=path.stat().st_size, sha256=hash_file(path))
