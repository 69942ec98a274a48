"""What callers are told, and what stays in the server's log."""

import pytest

from hyperseg_runtime.errors import BundleError, ImageError, NumericsError, PromptError, ResourceError
from hyperseg_serving.refusals import Code, Failure, Reason, RefusalError, failure_of, refusal_of


@pytest.mark.parametrize(
    ("error", "reason", "code"),
    [
        (RefusalError(Reason.OPTIONS, "x"), Reason.OPTIONS, Code.INVALID_ARG),
        (RefusalError(Reason.STREAM_UNKNOWN, "x"), Reason.STREAM_UNKNOWN, Code.NOT_FOUND),
        (ImageError("x"), Reason.IMAGE, Code.INVALID_ARG),
        (PromptError("x"), Reason.TEXT, Code.INVALID_ARG),
        (NumericsError("x"), Reason.NUMERICS, Code.INTERNAL),
        (ResourceError("/secret"), Reason.RESOURCES, Code.UNAVAILABLE),
        (MemoryError(), Reason.RESOURCES, Code.UNAVAILABLE),
        (BundleError("/secret"), Reason.INTERNAL, Code.INTERNAL),
        (RuntimeError("/secret"), Reason.INTERNAL, Code.INTERNAL),
    ],
)
def test_every_error_has_a_reason_and_a_code(error: Exception, reason: Reason, code: Code) -> None:
    failure = failure_of(error)
    assert (failure.reason, failure.code) == (reason, code)
    assert str(failure).startswith(f"{reason.value}: ")
    assert "secret" not in str(failure)


def test_what_is_kept_back_is_logged_under_a_reference(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise RuntimeError("/secret/path")
    except RuntimeError as error:
        message = failure_of(error).message
    logged = capsys.readouterr().err
    assert message.rpartition(" ")[2] in logged
    assert "/secret/path" in logged and "Traceback" in logged


def test_a_refusal_survives_a_second_model() -> None:
    passed_on = refusal_of(str(Failure(Reason.TOO_MANY, "9: at most 8")))
    assert str(failure_of(passed_on)) == "E_TOO_MANY: 9: at most 8"
    assert failure_of(refusal_of("[request id: 1] Exceeds maximum queue size")).code is Code.UNAVAILABLE
    assert failure_of(refusal_of("Stub process is not healthy")).reason is Reason.INTERNAL
