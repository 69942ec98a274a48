from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.bundle.manifest import Manifest
from hyperseg_runtime.bundle.opening import Bundle, describe_file
from hyperseg_runtime.bundle.tables import HostTables, table_path
from hyperseg_runtime.errors import BundleError

SHAPES = {"tokens": (6, 4), "queries": (3, 4), "latents": (2, 5)}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_come_out_as_float32(tmp_path: Path, dtype: type) -> None:
    written = write(tmp_path, dtype)
    tables = opened(tmp_path)
    rows = tables.rows("tokens", (5, 0, 5))
    assert rows.dtype == np.float32 and np.array_equal(rows, written["tokens"][[5, 0, 5]].astype(np.float32))
    for name in ("queries", "latents"):
        whole = tables.table(name)
        assert whole.dtype == np.float32 and np.array_equal(whole, written[name].astype(np.float32))


def test_no_tokens_give_no_rows(tmp_path: Path) -> None:
    write(tmp_path, np.float32)
    assert opened(tmp_path).rows("tokens", ()).shape == (0, 4)


def test_the_table_is_read_from_disk_only_where_asked(tmp_path: Path) -> None:
    """Phi-2's token table takes 257 MB in float16; a prompt needs 80 rows of it."""
    write(tmp_path, np.float16)
    assert isinstance(opened(tmp_path)._tables["tokens"], np.memmap)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((6, 4), np.float64),
        np.zeros((6, 4), np.int64),
        np.zeros((6, 4), ">f4"),
        np.zeros(6, np.float32),
        np.zeros((1, 6, 4), np.float32),
        np.zeros((5, 4), np.float32),
        np.zeros((6, 5), np.float32),
        np.zeros((6, 4), [("a", np.float32)]),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    write(tmp_path, np.float32)
    np.save(tmp_path / table_path("tokens"), array)
    with pytest.raises(BundleError, match=r"tokens\.npy: expected float rows of shape \(6, 4\), got "):
        opened(tmp_path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    write(tmp_path, np.float32)
    bundle = bundle_of(tmp_path)
    (tmp_path / table_path("latents")).unlink()
    with pytest.raises(BundleError, match=r"latents\.npy: not a table of rows"):
        HostTables(bundle, SHAPES)


def test_a_table_that_was_not_verified_is_not_opened(tmp_path: Path) -> None:
    write(tmp_path, np.float32)
    bundle = bundle_of(tmp_path)
    del bundle.manifest.files[table_path("latents")]
    with pytest.raises(BundleError, match=r"tables/latents\.npy is not listed in manifest\.json"):
        HostTables(bundle, SHAPES)


def test_a_family_without_tables_needs_no_files(tmp_path: Path) -> None:
    HostTables(bundle_of(tmp_path), {})


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    write(tmp_path, np.float32)
    np.save(tmp_path / table_path("tokens"), np.array([[print, len]], object), allow_pickle=True)
    with pytest.raises(BundleError, match="not a table of rows"):
        opened(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff", b"text"])
def test_files_that_are_no_arrays_are_refused(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, np.float32)
    (tmp_path / table_path("tokens")).write_bytes(content)
    with pytest.raises(BundleError, match=r"tokens\.npy: "):
        opened(tmp_path)


def test_an_archive_of_arrays_is_refused(tmp_path: Path) -> None:
    write(tmp_path, np.float32)
    with (tmp_path / table_path("tokens")).open("wb") as file:
        np.savez(file, tokens=np.zeros((6, 4), np.float32))
    with pytest.raises(BundleError, match=r"tokens\.npy: "):
        opened(tmp_path)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_any_damage_gives_a_table_or_a_bundle_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    write(folder, np.float32)
    path = folder / table_path("tokens")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, 130))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    try:
        opened(folder).rows("tokens", ())
    except BundleError as error:
        assert str(error).startswith("tokens.npy: ")


def write(folder: Path, dtype: type) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    tables: dict[str, np.ndarray] = {name: random.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}
    for name, table in tables.items():
        (folder / table_path(name)).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / table_path(name), table)
    return tables


def opened(folder: Path) -> HostTables:
    return HostTables(bundle_of(folder), SHAPES)


def bundle_of(folder: Path) -> Bundle:
    """One that lists the tables of `folder` and nothing else."""
    files = {str(path.relative_to(folder)): describe_file(path) for path in folder.rglob("*.npy")}
    return Bundle(folder, Manifest.model_construct(files=files))
