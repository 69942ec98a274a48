"""Addresses that are none are refused before anything is sent."""

import pytest

from hyperseg_runtime.errors import InputError
from hyperseg_serving.client.address import split_address


@pytest.mark.parametrize("url", ["http://host:80", "grpc+shm://127.0.0.1:8001", "https://host", "grpc://[::1]:65535"])
def test_addresses(url: str) -> None:
    scheme, _, host = url.partition("://")
    assert split_address(url)[:2] == (scheme, host)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "expected one such as"),
        ("http://:80", "expected one such as"),
        ("http://host:abc", "'abc'"),
        ("http://host:-1", "'-1'"),
        ("http://host:70000", "out of range"),
        ("http://host:0", "a port from 1 to 65535"),
        ("http://[::1", "IPv6"),
        ("http://a b:80", "expected one such as"),
        ("http://a..b:80", "idna"),
        (f"http://{'a' * 64}:80", "idna"),
        ("http://key@host:80", "expected one such as"),
    ],
)
def test_what_is_no_address(url: str, why: str) -> None:
    with pytest.raises(InputError, match=f"is no address.*{why}"):
        split_address(url)
