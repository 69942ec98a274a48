"""A bundle on disk may be damaged, half copied or made by somebody else."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hyperseg_runtime.bundle import opening as bundles
from hyperseg_runtime.bundle.opening import Bundle, describe_file, hash_file, read_manifest
from hyperseg_runtime.errors import BundleError

FILES = ["graphs/llm.onnx", "graphs/llm.data", "embeddings/tokens.npy", "tokenizer.json"]


def test_an_intact_bundle_opens_and_tells_how_much_it_read(tiny_bundle: Path) -> None:
    counts: list[int] = []
    bundle = Bundle.open(tiny_bundle, counts.append)
    assert sum(counts) == bundle.manifest.size_bytes > 0
    assert bundle.path("tokenizer.json") == tiny_bundle / "tokenizer.json"
    assert set(FILES) <= set(bundle.manifest.files)


def test_a_link_to_the_bundle_itself_is_fine(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tiny_bundle)
    assert Bundle.open(str(tmp_path / "link")).manifest == Bundle.open(tiny_bundle).manifest


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("position", [0, -1])
def test_a_changed_byte_is_found(bundle_copy: Path, name: str, position: int) -> None:
    content = bytearray((bundle_copy / name).read_bytes())
    content[position] ^= 1
    (bundle_copy / name).write_bytes(content)
    refused(bundle_copy, f"the content of {name} differs")


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_found(bundle_copy: Path, name: str) -> None:
    os.truncate(bundle_copy / name, 100)
    refused(bundle_copy, f"{name} has 100 bytes, the manifest says")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    refused(bundle_copy, f"{name} is missing; export it again")


def test_a_folder_or_pipe_in_place_of_a_file_is_refused(bundle_copy: Path) -> None:
    for make in (Path.mkdir, os.mkfifo):
        path = bundle_copy / "tokenizer.json"
        path.unlink()
        make(path)
        refused(bundle_copy, "tokenizer.json is missing")
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.write_bytes(b"")


def test_links_are_refused_even_to_the_right_content(bundle_copy: Path, tmp_path: Path) -> None:
    shutil.move(bundle_copy / "tokenizer.json", tmp_path / "elsewhere.json")
    (bundle_copy / "tokenizer.json").symlink_to(tmp_path / "elsewhere.json")
    refused(bundle_copy, "tokenizer.json goes through a link")


def test_linked_folders_and_manifests_are_refused(bundle_copy: Path, tmp_path: Path) -> None:
    shutil.move(bundle_copy / "graphs", tmp_path / "elsewhere")
    (bundle_copy / "graphs").symlink_to(tmp_path / "elsewhere")
    refused(bundle_copy, "goes through a link")
    shutil.move(bundle_copy / "manifest.json", tmp_path / "manifest.json")
    (bundle_copy / "manifest.json").symlink_to(tmp_path / "manifest.json")
    refused(bundle_copy, "manifest.json is missing")


def test_no_folder_and_no_manifest_are_told_apart(tmp_path: Path) -> None:
    refused(tmp_path / "none", "no such folder; make one with: hyperseg-trt export")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "no such folder")
    refused(tmp_path, "manifest.json is missing; this is not a finished bundle")


def test_an_enormous_manifest_is_not_read(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MAX_MANIFEST_BYTES", 1000)
    with pytest.raises(BundleError, match="larger than 1000 bytes"):
        read_manifest(bundle_copy)


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["x" * 100] * 60)])
def test_a_path_no_file_system_knows_is_refused(bundle_copy: Path, name: str) -> None:
    content = json.loads((bundle_copy / "manifest.json").read_bytes())
    content["files"][name] = {"size_bytes": 1, "sha256": "0" * 64}
    (bundle_copy / "manifest.json").write_text(json.dumps(content))
    refused(bundle_copy, "")


@pytest.mark.parametrize("name", ["manifest.json", "tokenizer.json"])
def test_a_file_that_may_not_be_read_is_named(tiny_bundle: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faked, because tests may run as root."""
    monkeypatch.setattr(Path, "open", without_permission(Path.open, name))
    monkeypatch.setattr("io.open", without_permission(open, name))
    refused(tiny_bundle, name)


def test_files_that_nobody_listed_do_no_harm(bundle_copy: Path) -> None:
    (bundle_copy / "notes.txt").write_text("mine")
    Bundle.open(bundle_copy)


def test_hash_and_size_of_a_file(tmp_path: Path) -> None:
    data = os.urandom(5 * 2**20)  # more than one chunk
    (tmp_path / "file").write_bytes(data)
    entry = describe_file(tmp_path / "file")
    assert entry.size_bytes == len(data)
    assert entry.sha256 == hash_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def refused(folder: Path, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder)
    assert str(caught.value).startswith(f"bundle {folder}: ") and message in str(caught.value)


def without_permission(real: Callable[..., object], name: str) -> Callable[..., object]:
    def opened(path: object, *arguments: object, **options: object) -> object:
        if str(path).endswith(name):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    return opened
