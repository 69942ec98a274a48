"""Where the gateway listens, whom it knows, and how much it lets through."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hyperseg_runtime.errors import InputError
from hyperseg_serving.server.command import Address

KEYS_VARIABLE = "HYPERSEG_KEYS"
"""The callers' keys, as in the file of `--keys`."""
REQUESTS_PER_MINUTE = 6000
"""Of one caller, where nothing else is said."""
BEHIND = 100
"""Ports of the server above those of the gateway."""
LAST_PORT = 65535
KEY = re.compile(r"[\w.~+/=-]{16,200}")
CALLER = re.compile(r"[\w.-]{1,60}")


@dataclass(frozen=True)
class Key:
    """What a caller shows, and the name that rates and the log use for it."""

    caller: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Tls:
    """Files in PEM."""

    certificate: Path
    key: Path

    def __post_init__(self) -> None:
        for file in (self.certificate, self.key):
            if not file.is_file():
                raise InputError(f"{file}: no such file; expected PEM")


@dataclass(frozen=True)
class GatewaySettings:
    """`requests_per_minute` are a caller's: of a key where there are keys, else of an address. A stream counts once."""

    address: Address
    keys: Sequence[Key] = ()
    tls: Tls | None = None
    requests_per_minute: int = REQUESTS_PER_MINUTE
    max_connections: int = 1000
    log_all: bool = False
    """Write a line for every request, not only for those that failed."""

    def urls(self) -> dict[str, str]:
        """What callers use."""
        found = self.address.urls()
        if self.tls:
            found |= {name: found[name].replace("://", "s://", 1) for name in ("http", "grpc")}
        return found


def behind(address: Address) -> Address:
    """Where the server listens whose gateway is at `address`: on this machine alone, at ports that probes know.

    Raises InputError where there are no such ports.
    """
    for name, port in address.ports().items():
        if port + BEHIND > LAST_PORT:
            raise InputError(
                f"--{name}-port {port}: the server behind a gateway listens {BEHIND} ports above it; choose one up to "
                f"{LAST_PORT - BEHIND}, or 0 for a free one"
            )
    http, grpc, metrics = (port and port + BEHIND for port in address.ports().values())
    return Address(http, grpc, metrics)


def read_keys(file: Path | None) -> tuple[Key, ...]:
    """From `file`, else from the environment: NAME and KEY on each line. Raises InputError for other lines.

    Errors tell the line's number and never the key.
    """
    try:
        source, text = (str(file), file.read_text()) if file else (KEYS_VARIABLE, os.environ.get(KEYS_VARIABLE, ""))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as keys ({type(error).__name__})") from error
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, key = line.strip().partition(" ")
        if not (CALLER.fullmatch(name) and KEY.fullmatch(key.strip())):
            raise InputError(
                f"{source}, line {number}: expected NAME KEY, a name of letters and digits and a key of 16 to 200 "
                "letters, digits and .~+/=_-"
            )
        keys.append(Key(name, key.strip()))
    if file and not keys:
        raise InputError(f"{file}: no keys; expected NAME KEY on each line")
    if len({key.key for key in keys}) < len(keys):
        raise InputError(f"{source}: a key stands there twice")
    return tuple(keys)
