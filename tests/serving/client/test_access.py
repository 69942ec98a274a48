"""Whom the client trusts: a file that cannot be used is named before anybody is asked."""

from pathlib import Path

import pytest

from hyperseg_runtime.errors import InputError
from hyperseg_serving.client.access import CA_VARIABLE
from hyperseg_serving.client.client import Client


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authority_that_cannot_be_used(
    scheme: str, content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv(CA_VARIABLE, str(file))
    with (
        pytest.raises(InputError, match=f"{CA_VARIABLE} names .*ca.pem.*expected a PEM file"),
        Client(f"{scheme}://127.0.0.1:1") as client,
    ):
        client.segment(b"file", ["a"])


def test_plain_addresses_need_no_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CA_VARIABLE, str(tmp_path / "none"))
    for scheme in ("http", "grpc"):
        Client(f"{scheme}://127.0.0.1:1").close()


def test_an_empty_variable_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CA_VARIABLE, "")
    for scheme in ("https", "grpcs"):
        Client(f"{scheme}://127.0.0.1:1").close()
