"""The manifest is read from disk and nothing in it is trusted."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.bundle.manifest import FILE_NAME, FORMAT_VERSION, Manifest, kind_of, parse_manifest
from hyperseg_runtime.errors import BundleError

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="session")
def valid(tiny_bundle: Path) -> bytes:
    return (tiny_bundle / FILE_NAME).read_bytes()


def test_round_trip(valid: bytes) -> None:
    manifest = parse_manifest(valid)
    assert parse_manifest(manifest.to_bytes()) == manifest
    assert manifest.to_bytes() == valid
    assert manifest.size_bytes == sum(entry.size_bytes for entry in manifest.files.values())


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_any_change_of_its_content_gives_a_manifest_or_a_bundle_error(tiny_bundle: Path, data: st.DataObject) -> None:
    valid = (tiny_bundle / FILE_NAME).read_bytes()
    content = json.loads(data.draw(st.sampled_from((valid, with_adapter(valid)))))
    for _ in range(data.draw(st.integers(1, 3))):
        change(content, data)
    check(json.dumps(content).encode())


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_any_change_of_its_bytes_gives_a_manifest_or_a_bundle_error(tiny_bundle: Path, data: st.DataObject) -> None:
    valid = (tiny_bundle / FILE_NAME).read_bytes()
    start = data.draw(st.integers(0, len(valid)))
    length = data.draw(st.sampled_from((0, 1, 2, 40, len(valid))))
    check(valid[:start] + data.draw(st.binary(max_size=4)) + valid[start + length :])


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"\xff\xfe", b"1", b'"manifest"', b"[" * 100_000, b'{"a":' * 100_000, b"1" * 10_000],
    ids=lambda data: repr(data[:8]),
)
def test_what_is_no_manifest_at_all(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"^manifest\.json "):
        parse_manifest(data)


def test_a_newer_format_says_what_to_do(valid: bytes) -> None:
    with pytest.raises(BundleError, match=rf"format version {FORMAT_VERSION + 1}, this program reads .*upgrade"):
        parse_manifest(with_value(valid, FORMAT_VERSION + 1, "format_version"))


@pytest.mark.parametrize("version", [0, -1, "1", None, 1.5, [1]])
def test_other_format_versions_are_refused(valid: bytes, version: object) -> None:
    with pytest.raises(BundleError, match="format_version"):
        parse_manifest(with_value(valid, version, "format_version"))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_are_finite(valid: bytes, number: str) -> None:
    """1e999 is a JSON number, but no float64."""
    text = with_value(valid, "NUMBER", "parity", 0, "worst_error").decode().replace('"NUMBER"', number)
    with pytest.raises(BundleError):
        parse_manifest(text.encode())


@pytest.mark.parametrize("place", [b'"family"', b'"size_bytes"', b'"minimum"'])
def test_a_key_may_not_appear_twice(valid: bytes, place: bytes) -> None:
    with pytest.raises(BundleError, match="appears twice"):
        parse_manifest(valid.replace(place, place + b": 1, " + place, 1))


@pytest.mark.parametrize("place", [(), ("graphs", 0), ("graphs", 0, "spec"), ("provenance",), ("parity", 0)])
def test_unknown_keys_are_refused(valid: bytes, place: tuple[str | int, ...]) -> None:
    with pytest.raises(BundleError, match="surprise: Extra inputs are not permitted"):
        parse_manifest(with_value(valid, 1, *place, "surprise"))


@pytest.mark.parametrize("key", ["family", "graphs", "files", "provenance", "parity", "coverage", "dimensions"])
def test_every_key_is_needed(valid: bytes, key: str) -> None:
    content = json.loads(valid)
    del content[key]
    with pytest.raises(BundleError, match=f"{key}: Field required"):
        parse_manifest(json.dumps(content).encode())


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/etc/passwd", "..", ".", "", "./x", "a//b", "a/", "a\\b", "C:x", "C:/x", "a\0b", "\\\\h\\x"],
)
def test_paths_stay_inside(valid: bytes, path: str) -> None:
    content = json.loads(valid)
    content["files"][path] = {"size_bytes": 1, "sha256": "0" * 64}
    with pytest.raises(BundleError, match=r"leads out of the bundle|not in its plain form"):
        parse_manifest(json.dumps(content).encode())


@pytest.mark.parametrize("place", [("file",), ("data_files", 0)])
def test_a_graph_reads_only_listed_files(valid: bytes, place: tuple[str | int, ...]) -> None:
    with pytest.raises(BundleError, match=r"needs graphs/other\.bin, which is not listed in files"):
        parse_manifest(with_value(valid, "graphs/other.bin", "graphs", 1, *place))  # the first has no weights


def test_a_graph_is_listed_once(valid: bytes) -> None:
    content = json.loads(valid)
    content["graphs"].append(content["graphs"][0])
    with pytest.raises(BundleError, match="a graph is listed twice"):
        parse_manifest(json.dumps(content).encode())


@pytest.mark.parametrize("sha256", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 64 + "\n"])
def test_hashes_are_64_lower_case_hex_digits(valid: bytes, sha256: str) -> None:
    with pytest.raises(BundleError, match="sha256"):
        parse_manifest(with_value(valid, sha256, "files", "tokenizer.json", "sha256"))


def test_sizes_are_not_negative(valid: bytes) -> None:
    with pytest.raises(BundleError, match="size_bytes"):
        parse_manifest(with_value(valid, -1, "files", "tokenizer.json", "size_bytes"))


def test_parity_may_be_not_measured(valid: bytes) -> None:
    assert parse_manifest(with_value(valid, None, "parity")).parity is None


ADAPTER: dict[str, Any] = {
    "graph": "llm",
    "file": "graphs/llm.data",
    "factors": [{"name": "down", "shape": [6, 5], "offset": 0}, {"name": "up", "shape": [5, 9], "offset": 128}],
    "slots": [
        {"weight": "q", "down": "down", "up": "up", "ranks": [0, 2], "outputs": [0, 3], "rank": 2},
        {"weight": "v", "down": "down", "up": "up", "ranks": [2, 5], "outputs": [6, 9], "rank": 0},
    ],
}


def test_an_adapter_round_trips(valid: bytes) -> None:
    manifest = parse_manifest(with_adapter(valid))
    assert manifest.adapter is not None
    assert [slot.capacity for slot in manifest.adapter.slots] == [2, 3]
    assert [factor.size_bytes for factor in manifest.adapter.factors] == [120, 180]
    assert parse_manifest(manifest.to_bytes()) == manifest


def test_bundles_from_before_adapters_have_none(valid: bytes) -> None:
    content = json.loads(valid)
    del content["adapter"]
    assert parse_manifest(json.dumps(content).encode()).adapter is None


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("graph",), "lm", "which graph lm does not read"),
        (("file",), "tokenizer.json", "the adapter lies in tokenizer.json, which graph llm does not read"),
        (("file",), "../x", "which graph llm does not read"),
        (("factors", 1, "offset"), 132, "factors end at byte 312, graphs/llm.data does not"),
        (("factors", 1, "offset"), 116, "two factors overlap"),
        (("factors", 0, "offset"), 128, "two factors overlap, or are not in the order of the file"),
        (("factors",), [], "factors"),
        (("factors", 1, "offset"), -1, "offset"),
        (("factors", 1, "name"), "down", "listed twice"),
        (("factors", 0, "shape"), [0, 5], "a factor is empty"),
        (("factors", 0, "shape"), [6, 4], "the slot of q does not fit"),
        (("factors", 0, "shape"), [6], "shape"),
        (("slots", 1, "weight"), "q", "listed twice"),
        (("slots", 0, "up"), "upper", "needs down and upper, which are no factors"),
        (("slots", 0, "ranks"), [0, 0], "the slot of q does not fit"),
        (("slots", 0, "ranks"), [0, 3], "the slot of v does not fit"),  # they overlap
        (("slots", 1, "ranks"), [2, 6], "the slot of v does not fit"),
        (("slots", 1, "outputs"), [6, 10], "the slot of v does not fit"),
        (("slots", 1, "outputs"), [-1, 3], "the slot of v does not fit"),
        (("slots", 0, "rank"), 3, "the slot of q does not fit"),
        (("slots", 0, "rank"), -1, "the slot of q does not fit"),
        (("surprise",), 1, "Extra inputs are not permitted"),
        (("slots", 0, "surprise"), 1, "Extra inputs are not permitted"),
    ],
)
def test_an_adapter_that_cannot_be(valid: bytes, place: tuple[str | int, ...], value: object, message: str) -> None:
    with pytest.raises(BundleError, match=re.escape(message)):
        parse_manifest(with_value(with_adapter(valid), value, "adapter", *place))


def test_a_kind_names_a_weight_of_every_layer() -> None:
    assert kind_of("model.layers.31.mlp.fc1.weight") == "model.layers.{i}.mlp.fc1.weight"
    assert kind_of("a.3.b.4.weight") == "a.{i}.b.4.weight"
    assert kind_of("lm_head.weight") == "lm_head.weight"


def test_an_absent_graph_is_named_with_those_there_are(valid: bytes) -> None:
    manifest = parse_manifest(valid)
    assert manifest.graph("llm").spec.name == "llm"
    with pytest.raises(BundleError, match="no graph predictor; it has preprocess, image_encoder, clip_encoder"):
        manifest.graph("predictor")


def check(data: bytes) -> None:
    """Read back what was read, or refuse; anything else is a fault."""
    try:
        manifest = parse_manifest(data)
    except BundleError as error:
        assert str(error).startswith("manifest.json ")
        return
    assert isinstance(manifest, Manifest)
    assert parse_manifest(manifest.to_bytes()) == manifest


def with_adapter(valid: bytes) -> bytes:
    """The manifest of a bundle whose language model reads a small adapter and nothing else."""
    content = with_value(valid, 128 + 4 * 5 * 9, "files", "graphs/llm.data", "size_bytes")
    return with_value(content, ADAPTER, "adapter")


def with_value(valid: bytes, value: object, *place: str | int) -> bytes:
    content = json.loads(valid)
    target: Any = content
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    return json.dumps(content).encode()


def change(content: Any, data: st.DataObject) -> None:
    """Replace, drop, rename or copy one random value."""
    places = list(containers(content))
    container, key = places[data.draw(st.integers(0, len(places) - 1))]
    kind = data.draw(st.sampled_from(("replace", "swap", "drop", "add")))
    if kind == "drop":
        del container[key]
    elif kind == "add" and isinstance(container, dict):
        container[data.draw(st.text(max_size=8))] = data.draw(JSON_VALUES)
    elif kind == "swap":
        other, other_key = places[data.draw(st.integers(0, len(places) - 1))]
        container[key] = deepcopy(other[other_key])
    else:
        container[key] = data.draw(JSON_VALUES)


def containers(value: Any) -> Iterator[tuple[Any, str | int]]:
    """Every value as the container that holds it and its key."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from containers(value[key])
