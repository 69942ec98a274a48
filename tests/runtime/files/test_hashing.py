"""A file is hashed again as soon as anything about it differs, and what is remembered lies with the user."""

import os
from pathlib import Path

import pytest

from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import BundleError
from hyperseg_runtime.files import hashing
from hyperseg_runtime.files.hashing import hash_file, remembered_hash
from hyperseg_runtime.session.pipeline import Pipeline
from support import RunCli

CONTENT = b"some content"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the records; every file is large enough, and settled at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "REMEMBER_FROM_BYTES", 1)
    monkeypatch.setattr(hashing, "SETTLED_NS", -(10**12))
    return tmp_path / "cache" / "hyperseg-trt" / "hashes"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path / "file"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that were read."""
    read: list[Path] = []
    monkeypatch.setattr(hashing, "hash_file", lambda path, on_bytes: (read.append(path), hash_file(path, on_bytes))[1])
    return read


def test_a_file_is_read_once_and_its_bytes_are_counted_each_time(file: Path, cache: Path, hashed: list[Path]) -> None:
    counts: list[int] = []
    found = {remembered_hash(file, counts.append) for _ in range(3)}
    assert found == {hash_file(file)} and hashed == [file] and counts == [len(CONTENT)] * 3
    assert len(list(cache.iterdir())) == 1 and list(file.parent.glob("*.json")) == []


@pytest.mark.parametrize("change", ["content", "stamps kept", "replaced", "touched", "grown"])
def test_what_differs_is_hashed_again(file: Path, cache: Path, hashed: list[Path], change: str) -> None:
    before = file.stat()
    remembered_hash(file)
    match change:
        case "content":
            file.write_bytes(CONTENT.upper())
        case "stamps kept":  # as an archive or rsync would: the time of the inode tells
            file.write_bytes(CONTENT.upper())
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        case "replaced":
            other = file.with_name("other")
            other.write_bytes(CONTENT.upper())
            os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
            other.replace(file)
        case "touched":
            os.utime(file, ns=(1, 1))
        case "grown":
            file.write_bytes(CONTENT * 2)
    assert remembered_hash(file) == hash_file(file)
    assert hashed == [file, file]


def test_a_file_that_was_just_written_is_not_remembered(
    file: Path, cache: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "SETTLED_NS", 10**12)
    remembered_hash(file)
    remembered_hash(file)
    assert hashed == [file, file] and not cache.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"stamp": 1}', '{"sha256": "0"}', "\x00"])
def test_a_damaged_record_is_none(file: Path, cache: Path, content: str) -> None:
    remembered_hash(file)
    (record,) = cache.iterdir()
    record.write_text(content)
    assert remembered_hash(file) == hash_file(file)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owner here")
def test_a_record_of_another_user_is_not_believed(
    file: Path, cache: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered_hash(file)
    record = next(cache.iterdir())
    if os.getuid() != 0:
        monkeypatch.setattr(os, "getuid", lambda: record.stat().st_uid + 1)
    else:
        os.chown(record, 12345, 12345)
    remembered_hash(file)
    assert hashed == [file, file]


@pytest.mark.parametrize("broken", ["a file in the way", "no home"])
def test_without_a_cache_it_only_takes_longer(
    file: Path, cache: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    if broken == "no home":
        monkeypatch.setattr(hashing, "user_cache", lambda: None)
    else:
        cache.parent.parent.write_text("")
    assert remembered_hash(file) == remembered_hash(file) == hash_file(file)
    assert hashed == [file, file]


def test_bundles_are_remembered_and_inspect_is_not_fooled(
    bundle_copy: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    """A change that leaves no trace in a file's stamps: played by stamps that never differ."""
    monkeypatch.setattr(hashing, "_stamp", lambda found: [found.st_size])
    Pipeline.load(bundle_copy, threads=1).close()
    damaged = bundle_copy / "graphs" / "llm.data"
    damaged.write_bytes(bytes(reversed(damaged.read_bytes())))
    Pipeline.load(bundle_copy, threads=1).close()
    for look in (lambda: Pipeline.load(bundle_copy, threads=1, verify_hashes=True), lambda: Bundle.open(bundle_copy)):
        with pytest.raises(BundleError, match=r"llm\.data differs from the manifest's hash"):
            look()
    assert run_cli("inspect", bundle_copy).code == 6
