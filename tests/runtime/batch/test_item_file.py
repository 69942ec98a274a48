"""Rows on disk: whole lines stay, half of one goes, anything else is refused."""

from pathlib import Path

import pytest

from hyperseg_runtime.batch.item_file import ItemFile, missing
from hyperseg_runtime.errors import InputError

ROWS = [{"ask": "one", "asked": "die Tür", "iou": 0.1 + 0.2, "lost": float("nan")}]


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    with ItemFile(path) as items:
        items.add("b", ROWS)
        items.add("a", [])
    again = ItemFile(path)
    assert again.rows == {"b": [{**ROWS[0], "lost": None}], "a": []}
    assert list(missing(["a", "b", "c"], again.rows)) == ["c"]


@pytest.mark.parametrize("left", range(1, 30))
def test_half_a_line_is_cut_off_wherever_it_ends(tmp_path: Path, left: int) -> None:
    path = tmp_path / "items.jsonl"
    with ItemFile(path) as items:
        items.add("a", ROWS)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:left])
    with ItemFile(path) as items:
        assert list(items.rows) == ["a"]
        items.add("b", ROWS)
    assert list(ItemFile(path).rows) == ["a", "b"]


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('[1]\n{"sample": "a", "rows": []}\n')
    with pytest.raises(InputError, match="line 1 holds no rows"):
        ItemFile(path)
