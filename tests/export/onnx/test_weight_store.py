"""Tensor data beside graphs: every byte where its location says, equal tensors once."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyperseg_export.onnx.weight_store import LINE_BYTES, PAGE_BYTES, Location, WeightStore

DATA, MORE = "one.data", "two.data"


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(min_size=1, max_size=9) | st.sampled_from([b"x" * 5000, b"y" * 4096]), max_size=8))
def test_every_location_holds_its_bytes(tmp_path: Path, contents: list[bytes]) -> None:
    with WeightStore(tmp_path, {}).open(DATA) as weights:
        locations = [weights.add(np.frombuffer(content, np.uint8)) for content in contents]
    stored = (tmp_path / DATA).read_bytes() if contents else b""
    for content, location in zip(contents, locations, strict=True):
        assert location.file == DATA
        assert stored[location.offset : location.offset + location.length] == content
        assert location.offset % (PAGE_BYTES if len(content) >= PAGE_BYTES else LINE_BYTES) == 0
    assert len(set(locations)) == len(weights.added) == len(set(contents))


def test_equal_bytes_are_one_tensor_whatever_their_shape_and_type(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    with WeightStore(tmp_path, {}).open(DATA) as weights:
        first = weights.add(values)
        assert weights.add(values.reshape(2, 3)) == first
        assert weights.add(values.view(np.int32)) == first
        assert weights.add(values + 1) != first
    assert len(weights.added) == 2


def test_an_array_is_stored_in_c_order(tmp_path: Path) -> None:
    swapped = np.arange(6, dtype=np.float32).reshape(2, 3).T
    with WeightStore(tmp_path, {}).open(DATA) as weights:
        place = weights.add(swapped)
    data = (tmp_path / DATA).read_bytes()[place.offset : place.offset + place.length]
    assert data == np.ascontiguousarray(swapped).tobytes()


def test_a_scalar_has_a_place_too(tmp_path: Path) -> None:
    with WeightStore(tmp_path, {}).open(DATA) as weights:
        assert weights.add(np.float32(3)).length == 4


def test_a_tensor_of_an_earlier_file_is_pointed_to(tmp_path: Path) -> None:
    store = WeightStore(tmp_path, {})
    shared, own = np.arange(8.0), np.ones(3)
    with store.open(DATA) as first:
        place = first.add(shared)
    with store.open(MORE) as second:
        assert second.add(shared) == place
        assert second.add(own).file == MORE
    assert second.files == {DATA, MORE}
    assert [location.file for location in second.added.values()] == [MORE]


def test_what_a_finished_step_wrote_is_known(tmp_path: Path) -> None:
    with WeightStore(tmp_path, {}).open(DATA) as first:
        place = first.add(np.ones(3))
    assert isinstance(place, Location)
    with WeightStore(tmp_path, first.added).open(MORE) as second:
        assert second.add(np.ones(3)) == place
    assert not second.added
    assert not (tmp_path / MORE).exists()


def test_the_given_locations_are_not_changed(tmp_path: Path) -> None:
    known: dict[str, Location] = {}
    with WeightStore(tmp_path, known).open(DATA) as weights:
        weights.add(np.ones(3))
    assert not known


def test_no_tensors_make_no_file(tmp_path: Path) -> None:
    with WeightStore(tmp_path, {}).open(DATA):
        pass
    assert not list(tmp_path.iterdir())


def test_an_error_inside_the_block_comes_out(tmp_path: Path) -> None:
    with pytest.raises(KeyError), WeightStore(tmp_path, {}).open(DATA) as weights:
        weights.add(np.ones(3))
        raise KeyError


def test_files_are_equal_for_equal_tensors(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with WeightStore(tmp_path / name, {}).open(DATA) as weights:
            for size in (3, 5000, 1):
                weights.add(np.full(size, size, np.float32))
    assert (tmp_path / "a" / DATA).read_bytes() == (tmp_path / "b" / DATA).read_bytes()


def begun(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """What a process leaves that was stopped in between."""
    with suppress(KeyboardInterrupt), WeightStore(folder, {}).open(DATA, "key") as weights:
        for name, array in arrays.items():
            weights.add(array, name)
        raise KeyboardInterrupt


ARRAYS = {name: np.full(size, size, np.float32) for name, size in (("a", 3), ("b", 5000), ("same as a", 3), ("c", 7))}


def test_what_a_killed_process_wrote_is_not_made_again(tmp_path: Path) -> None:
    """And the file ends like any other; half a tensor and half a line at their ends do not matter."""
    (tmp_path / "whole").mkdir()
    with WeightStore(tmp_path / "whole", {}).open(DATA, "key") as whole:
        expected = {name: whole.add(array, name) for name, array in ARRAYS.items()}
    begun(tmp_path, dict(list(ARRAYS.items())[:3]))
    for name in (DATA, f".{DATA}.journal"):
        with (tmp_path / name).open("ab") as file:
            file.write(b'{"name": "c')
    counts: list[int] = []
    with WeightStore(tmp_path, {}).open(DATA, "key", counts.append) as weights:
        recalled = {name: weights.recall(name) for name in ARRAYS}
        assert recalled == {**expected, "c": None}
        assert weights.add(ARRAYS["c"], "c") == expected["c"]
    assert weights.added == whole.added and weights.files == whole.files
    assert sum(counts) == sum(array.nbytes for array in ARRAYS.values())
    assert (tmp_path / DATA).read_bytes() == (tmp_path / "whole" / DATA).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"whole", DATA}


def test_what_another_export_wrote_is_not_taken(tmp_path: Path) -> None:
    begun(tmp_path, ARRAYS)
    with WeightStore(tmp_path, {}).open(DATA, "other key") as weights:
        assert weights.recall("a") is None


def test_damaged_bytes_are_made_again(tmp_path: Path) -> None:
    begun(tmp_path, ARRAYS)
    content = bytearray((tmp_path / DATA).read_bytes())
    content[PAGE_BYTES + 5] ^= 1
    (tmp_path / DATA).write_bytes(content)
    with WeightStore(tmp_path, {}).open(DATA, "key") as weights:
        assert weights.recall("a") is not None and weights.recall("b") is None
        place = weights.add(ARRAYS["b"], "b")
    assert (tmp_path / DATA).read_bytes()[place.offset :][: place.length] == ARRAYS["b"].tobytes()
