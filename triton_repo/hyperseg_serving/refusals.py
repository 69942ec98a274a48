"""Why a request failed: a stable identifier, the server's error code, and a text that gives nothing away."""

import secrets
import sys
import traceback
from dataclasses import dataclass
from enum import StrEnum

from hyperseg_runtime.errors import HypersegError, ImageError, InputError, NumericsError, PromptError, ResourceError


class Code(StrEnum):
    """The server's error codes that we use; names are those of its `TritonError`."""

    INVALID_ARG = "INVALID_ARG"
    NOT_FOUND = "NOT_FOUND"
    UNAVAILABLE = "UNAVAILABLE"
    UNSUPPORTED = "UNSUPPORTED"
    CANCELLED = "CANCELLED"
    INTERNAL = "INTERNAL"


class Reason(StrEnum):
    """Stable identifiers; every error message starts with one. The last three are the gateway's alone."""

    REQUEST = "E_REQUEST"
    IMAGE = "E_IMAGE"
    IMAGE_TOO_LARGE = "E_IMAGE_TOO_LARGE"
    TEXT = "E_TEXT"
    TOO_MANY = "E_TOO_MANY"
    TOO_MUCH = "E_TOO_MUCH"
    OPTIONS = "E_OPTIONS"
    STREAM_UNKNOWN = "E_STREAM_UNKNOWN"
    BUSY = "E_BUSY"
    DRAINING = "E_DRAINING"
    CANCELLED = "E_CANCELLED"
    TIMEOUT = "E_TIMEOUT"
    NUMERICS = "E_NUMERICS"
    RESOURCES = "E_RESOURCES"
    INTERNAL = "E_INTERNAL"
    KEY = "E_KEY"
    ROUTE = "E_ROUTE"
    LOST = "E_LOST"


CODES = {
    Reason.BUSY: Code.UNAVAILABLE,
    Reason.DRAINING: Code.UNAVAILABLE,
    Reason.STREAM_UNKNOWN: Code.NOT_FOUND,
    Reason.CANCELLED: Code.CANCELLED,
    Reason.TIMEOUT: Code.CANCELLED,
    Reason.NUMERICS: Code.INTERNAL,
    Reason.RESOURCES: Code.UNAVAILABLE,
    Reason.INTERNAL: Code.INTERNAL,
}
"""Reasons that are not the caller's fault; all others are INVALID_ARG."""

STATUSES = {
    Code.INVALID_ARG: 400,
    Code.NOT_FOUND: 404,
    Code.UNAVAILABLE: 503,
    Code.UNSUPPORTED: 501,
    Code.CANCELLED: 499,
    Code.INTERNAL: 500,
}
"""Of HTTP, as the gateway gives them; 499 is nginx's "client closed request"."""

NO_ROOM = ("Exceeds maximum queue size", "Request timeout expired", "has no available versions", "Server is stopping")
"""What the server itself says of a full or late queue, and while it stops or starts: nothing was done."""

STOPPING = "the server is stopping; ask another one, or this one later"


class RefusalError(InputError):
    """A request that is not served."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Failure:
    """What the caller is told."""

    reason: Reason
    message: str

    @property
    def code(self) -> Code:
        return CODES.get(self.reason, Code.INVALID_ARG)

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


def failure_of(error: Exception, request: str = "") -> Failure:
    """An error as the caller may see it; `request` is what the caller named the request.

    Texts of input errors were written for callers. Anything else may name files of the server: it goes to the
    server's log under a reference, which is all that leaves.
    """
    match error:
        case RefusalError():
            return Failure(error.reason, str(error))
        case ImageError():
            return Failure(Reason.IMAGE, str(error))
        case PromptError():
            return Failure(Reason.TEXT, str(error))
        case InputError():
            return Failure(Reason.REQUEST, str(error))
        case NumericsError():
            return Failure(Reason.NUMERICS, str(error))
        case MemoryError() | ResourceError():
            return Failure(Reason.RESOURCES, "memory ran out; try again later or with a smaller image")
    reference = secrets.token_hex(4)
    print(f"reference {reference}{request and f', request {request}'}:", file=sys.stderr)
    traceback.print_exception(error, file=sys.stderr)
    kind = "the model could not run" if isinstance(error, HypersegError) else "unexpected error"
    return Failure(Reason.INTERNAL, f"{kind}; the server's log says why under reference {reference}")


def refusal_of(message: str) -> Exception:
    """Inverse of `Failure.__str__`, for what another model of the server refused, or its queue."""
    if any(text in message for text in NO_ROOM):
        return RefusalError(Reason.BUSY, "the server has no room for the request now; try again later")
    reason, _, text = message.partition(": ")
    return RefusalError(Reason(reason), text) if reason in set(Reason) else RuntimeError(message)
