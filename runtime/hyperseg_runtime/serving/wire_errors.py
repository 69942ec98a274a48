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
from hyperseg_runtime.serving.refusals import NO_ROOM, Code, Reason

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
    Reason.BUSY: UnavailableError,
}


def connection_lost(said: str) -> ServerError:
    """For a request that was sent, at least in part."""
    return ServerError(f"the connection was lost before the answer was complete, the work may have been done: {said}")


def error_of(message: str, code: Code) -> HypersegError:
    """An error of our own tree.

    A refusal that carries no identifier of ours comes from the server itself, before any model saw the request:
    then UnavailableError means that nothing was done.
    """
    found = IDENTIFIER.search(message)
    if found:
        identifier, text = found.groups()
        return KINDS.get(identifier, ServerError)(f"{identifier}: {text.strip()}")
    # Streams carry texts alone. With the header `triton_grpc_error` they would carry codes, but release 24.10 ends by
    # a segmentation fault after the first error sent so ("HandleCancellation called even when the context was not
    # cancelled" in its log). Once that is gone, codes can take the place of texts.
    if code is Code.UNAVAILABLE or any(text in message for text in NO_ROOM):
        return UnavailableError(f"the server has no room for the request now: {message}")
    match code:
        case Code.INVALID_ARG | Code.NOT_FOUND | Code.UNSUPPORTED:
            return InputError(f"the server refused the request: {message}")
    return ServerError(f"the server failed at the request: {message}")
