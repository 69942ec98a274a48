"""Addresses of servers, SCHEME://HOST:PORT, checked before anything is sent there."""

import re
from urllib.parse import SplitResult, urlsplit

from hyperseg_runtime.errors import InputError

NO_HOST = re.compile(r"[\0-\x20\x7f@]")
"""What the name of a host never holds, though `urlsplit` lets it pass. Keys are no part of addresses."""


def split_address(url: str) -> SplitResult:
    """Raises InputError for an address without a host, and for a host or port that is none."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        is_usable = bool(host) and parts.port != 0 and not NO_HOST.search(parts.netloc)
    except ValueError as error:  # of the port, of brackets, of the host's letters
        raise InputError(f"{_no_address(url)} ({error})") from error
    if not is_usable:
        raise InputError(_no_address(url))
    return parts


def _no_address(url: str) -> str:
    return f"{url!r} is no address; expected one such as http://127.0.0.1:8000, with a port from 1 to 65535"
