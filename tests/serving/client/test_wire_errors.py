"""A refusal arrives as an error of our own."""

import pytest

from hyperseg_runtime.errors import (
    HypersegError,
    ImageError,
    InputError,
    NumericsError,
    PromptError,
    ServerError,
    UnavailableError,
)
from hyperseg_serving.client.wire_errors import error_of
from hyperseg_serving.refusals import Code


@pytest.mark.parametrize(
    ("message", "code", "kind"),
    [
        ("E_IMAGE_TOO_LARGE: 9 px", Code.INTERNAL, ImageError),
        ("in ensemble 'x', E_IMAGE: not one", Code.INVALID_ARG, ImageError),
        ("E_TEXT: empty", Code.INVALID_ARG, PromptError),
        ("E_STREAM_UNKNOWN: no", Code.NOT_FOUND, InputError),
        ("E_NUMERICS: NaN", Code.INTERNAL, NumericsError),
        ("E_TIMEOUT: late", Code.UNAVAILABLE, ServerError),
        ("E_OF_A_NEWER_SERVER: what", Code.INTERNAL, ServerError),
        ("[request id: 1] Exceeds maximum queue size", Code.INTERNAL, UnavailableError),
        ("E_BUSY: no room", Code.INTERNAL, UnavailableError),
        ("failed to connect to all addresses; last error: Connection refused", Code.UNAVAILABLE, UnavailableError),
        ("Socket closed", Code.UNAVAILABLE, ServerError),
        ("recvmsg:Connection reset by peer", Code.UNAVAILABLE, ServerError),
        ("This protocol is restricted, expecting header 'a'", Code.UNAVAILABLE, InputError),
        ("unexpected shape for input", Code.INVALID_ARG, InputError),
        ("Stub process is not healthy", Code.INTERNAL, ServerError),
    ],
)
def test_kinds(message: str, code: Code, kind: type[HypersegError]) -> None:
    error = error_of(message, code)
    assert type(error) is kind
    assert message.removeprefix("in ensemble 'x', ") in str(error)
