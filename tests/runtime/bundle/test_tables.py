from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.bundle.tables import LATENTS, MASK_QUERIES, TABLES, TOKENS, Embeddings, table_path
from hyperseg_runtime.errors import BundleError


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_come_out_as_float32(tmp_path: Path, dtype: type) -> None:
    tables = write(tmp_path, dtype)
    opened = Embeddings(tmp_path)
    rows = opened.token_rows((5, 0, 5))
    assert rows.dtype == np.float32 and np.array_equal(rows, tables[TOKENS][[5, 0, 5]].astype(np.float32))
    for name in (MASK_QUERIES, LATENTS):
        whole = opened.table(name)
        assert whole.dtype == np.float32 and np.array_equal(whole, tables[name].astype(np.float32))


def test_no_tokens_give_no_rows(tmp_path: Path) -> None:
    write(tmp_path, np.float32)
    assert Embeddings(tmp_path).token_rows(()).shape == (0, 4)


def test_the_table_is_read_from_disk_only_where_asked(tmp_path: Path) -> None:
    """Phi-2's token table takes 257 MB in float16; a prompt needs 80 rows of it."""
    write(tmp_path, np.float16)
    assert isinstance(Embeddings(tmp_path)._tables[TOKENS], np.memmap)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((6, 4), np.float64),
        np.zeros((6, 4), np.int64),
        np.zeros((6, 4), ">f4"),
        np.zeros(6, np.float32),
        np.zeros((1, 6, 4), np.float32),
        np.zeros((6, 4), [("a", np.float32)]),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    write(tmp_path, np.float32)
    np.save(tmp_path / table_path(TOKENS), array)
    with pytest.raises(BundleError, match=r"tokens\.npy: expected float rows, got "):
        Embeddings(tmp_path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    write(tmp_path, np.float32)
    (tmp_path / table_path(LATENTS)).unlink()
    with pytest.raises(BundleError, match=r"latents\.npy: not an embedding table"):
        Embeddings(tmp_path)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    write(tmp_path, np.float32)
    np.save(tmp_path / table_path(TOKENS), np.array([[print, len]], object), allow_pickle=True)
    with pytest.raises(BundleError, match="not an embedding table"):
        Embeddings(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff", b"text"])
def test_files_that_are_no_arrays_are_refused(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, np.float32)
    (tmp_path / table_path(TOKENS)).write_bytes(content)
    with pytest.raises(BundleError, match=r"tokens\.npy: "):
        Embeddings(tmp_path)


def test_an_archive_of_arrays_is_refused(tmp_path: Path) -> None:
    write(tmp_path, np.float32)
    with (tmp_path / table_path(TOKENS)).open("wb") as file:
        np.savez(file, tokens=np.zeros((6, 4), np.float32))
    with pytest.raises(BundleError, match=r"tokens\.npy: "):
        Embeddings(tmp_path)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_any_damage_gives_a_table_or_a_bundle_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "tables"
    write(folder, np.float32)
    path = folder / table_path(TOKENS)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, 130))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    try:
        Embeddings(folder).token_rows(())
    except BundleError as error:
        assert str(error).startswith("tokens.npy: ")


def write(folder: Path, dtype: type) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    tables: dict[str, np.ndarray] = {name: random.normal(size=(6, 4)).astype(dtype) for name in TABLES}
    for name, table in tables.items():
        (folder / table_path(name)).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / table_path(name), table)
    return tables
