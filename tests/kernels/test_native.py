"""Libraries compiled on demand: made once, found again, whole or not at all."""

import ctypes
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hyperseg_kernels import native

ANSWER = 'extern "C" __attribute__((visibility("default"))) int answer() { return %d; }\n'


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    try:
        native.find_compiler()
    except native.NativeBuildError as error:
        pytest.skip(str(error))
    path = tmp_path / "answer.cpp"
    path.write_text(ANSWER % 41)
    return path


def test_a_library_is_compiled_once(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = native.build_library(source, [source.parent])
    assert ctypes.CDLL(str(library)).answer() == 41
    monkeypatch.setattr(native, "compile_into", None)
    assert native.build_library(source, [source.parent]) == library
    assert list(library.parent.iterdir()) == [library]


def test_a_changed_source_or_header_is_another_library(source: Path) -> None:
    header = source.parent / "answer.h"
    header.write_text("// one\n")
    first = native.build_library(source, [source.parent])
    header.write_text("// two\n")
    second = native.build_library(source, [source.parent])
    source.write_text(ANSWER % 42)
    third = native.build_library(source, [source.parent])
    assert len({first, second, third}) == 3
    assert ctypes.CDLL(str(third)).answer() == 42


def test_two_may_build_at_once(source: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        libraries = set(pool.map(native.build_library, [source] * 2, [[source.parent]] * 2))
    (library,) = libraries
    assert list(library.parent.iterdir()) == [library]


def test_a_source_that_does_not_compile_is_one_line(source: Path) -> None:
    source.write_text("int answer() { return missing; }\n")
    with pytest.raises(native.NativeBuildError, match=r"failed: .*missing") as caught:
        native.build_library(source, [source.parent])
    assert "\n" not in str(caught.value)
    assert list(native.cache_folder().iterdir()) == []


def test_a_compiler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(native.NativeBuildError, match=r"no C\+\+ compiler: no-such-compiler is not on the path"):
        native.find_compiler()


def test_the_chosen_compiler_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", sys.executable)
    assert native.find_compiler() == sys.executable


def test_a_cache_that_cannot_be_written_says_so(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(native.NativeBuildError, match="cannot be written: Not a directory; set XDG_CACHE_HOME"):
        native.build_library(source, [source.parent])
