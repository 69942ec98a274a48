"""What a server's refusal becomes at the caller's."""

import re

from hyperseg_runtime.errors import (
    HypersegError,
    ImageError,
    InputError,
    NumericsError,
    PromptError,
    ServerError,
    UnavailableError,
)
from hyperseg_serving.refusals import NO_ROOM, Code, Reason

IDENTIFIER = re.compile(r"\b(E_[A-Z_]+): (.*)", re.S)
KINDS: dict[str, type[HypersegError]] = {
    Reason.IMAGE: ImageError,
    Reason.IMAGE_TOO_LARGE: ImageError,
    Reason.TEXT: PromptError,
    Reason.REQUEST: InputError,
    Reason.TOO_MANY: InputError,
    Reason.OPTIONS: InputError,
    Reason.STREAM_UNKNOWN: InputError,
    Reason.NUMERICS: NumericsError,
    Reason.TOO_MUCH: InputError,
    Reason.KEY: InputError,
    Reason.ROUTE: InputError,
    Reason.BUSY: UnavailableError,
    Reason.DRAINING: UnavailableError,
}
RESTRICTED = "is restricted, expecting"
UNREACHED = ("failed to connect", "DNS resolution failed", "name resolution")
"""What gRPC says when it never got as far as sending."""


def connection_lost(reason: str) -> ServerError:
    """For a request that was sent, at least in part."""
    return ServerError(f"the connection was lost, or the server ended it; the work may have been done: {reason}")


def error_of(message: str, code: Code) -> HypersegError:
    """An error of our own tree. UnavailableError means that nothing was done, and that trying again may help."""
    found = IDENTIFIER.search(message)
    if found:
        identifier, text = found.groups()
        return KINDS.get(identifier, ServerError)(f"{identifier}: {text.strip()}")
    # Streams carry texts alone. With the header `triton_grpc_error` they would carry codes, but release 24.10 ends by
    # a segmentation fault after the first error sent so ("HandleCancellation called even when the context was not
    # cancelled" in its log). Once that is gone, codes can take the place of texts.
    if any(text in message for text in NO_ROOM):
        return UnavailableError(f"the server has no room for the request now: {message}")
    if RESTRICTED in message:
        return InputError(f"the server keeps this from callers (shared memory: serve up --shared-memory): {message}")
    match code:
        case Code.UNAVAILABLE:
            if any(map(message.__contains__, UNREACHED)):
                return UnavailableError(
                    f"no answer: nobody listens at the address, or it cannot be reached ({message})"
                )
            return connection_lost(message)
        case Code.INVALID_ARG | Code.NOT_FOUND | Code.UNSUPPORTED:
            return InputError(f"the server refused the request: {message}")
    return ServerError(f"the server failed at the request: {message}")
