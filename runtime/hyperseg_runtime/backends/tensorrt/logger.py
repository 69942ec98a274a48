"""What TensorRT says: a call that fails returns None or False and gives the reason only here."""

from typing import Any

KEPT = 20
"""Messages that are kept; a process may live for weeks."""


def make_logger(trt: Any) -> Any:
    """A logger that keeps the latest errors in `.messages`."""

    class Messages(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.messages = [*self.messages, message][-KEPT:]

    return Messages()


def reason(logger: Any, lines: int = 5) -> str:
    """The last messages, one to a line, indented."""
    return "\n  ".join(logger.messages[-lines:]) or "TensorRT gave no reason"
