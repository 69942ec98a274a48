"""Keys from a file and the environment."""

from pathlib import Path

import pytest

from hyperseg_runtime.errors import InputError
from hyperseg_serving.gateway.settings import KEYS_VARIABLE, Tls, behind, read_keys
from hyperseg_serving.server.command import Address

KEY = "0123456789abcdef"


def test_keys_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# callers\none {KEY}\n\ntwo {KEY[::-1]}\n")
    assert [(key.caller, key.key) for key in read_keys(file)] == [("one", KEY), ("two", KEY[::-1])]
    assert KEY not in repr(read_keys(file))
    assert read_keys(None) == ()
    monkeypatch.setenv(KEYS_VARIABLE, f"three {KEY}")
    assert [key.caller for key in read_keys(None)] == ["three"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("one", "line 1"),
        ("one short", "16 to 200"),
        (f"a/b {KEY}", "line 1"),
        (f'one {KEY}"', "line 1"),
        ("# none", "no keys"),
        (f"one {KEY}\ntwo {KEY}", "twice"),
    ],
)
def test_lines_that_are_no_keys(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(InputError, match=says) as refusal:
        read_keys(tmp_path / "keys")
    assert KEY not in str(refusal.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_keys(tmp_path / "none")
    with pytest.raises(InputError, match="no such file"):
        Tls(tmp_path / "none", tmp_path / "none")


def test_the_server_is_behind_on_this_machine() -> None:
    assert behind(Address(8000, 8001, 8002, "0.0.0.0")) == Address(8100, 8101, 8102, "127.0.0.1")
    assert behind(Address(0, 0, 0)) == Address(0, 0, 0)


def test_a_port_that_leaves_none_for_the_server() -> None:
    assert behind(Address(65435, 0, 0)).http_port == 65535
    with pytest.raises(InputError, match=r"--grpc-port 65436: .* choose one up to 65435"):
        behind(Address(8000, 65436, 8002))
