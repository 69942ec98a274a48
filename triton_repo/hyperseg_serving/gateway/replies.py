"""What the gateway itself says: one sentence with an identifier, in the form of the server's errors.

Over gRPC the sentence is the status message, and the code follows the HTTP status.
"""

from dataclasses import dataclass
from typing import Any

from hyperseg_serving.refusals import Reason


@dataclass(frozen=True)
class Reply:
    """`flags` are Envoy's response flags, `status` the one it would give; either selects this reply."""

    reason: Reason
    text: str
    flags: tuple[str, ...] = ()
    status: int | None = None
    new_status: int | None = None

    @property
    def content(self) -> str:
        return f"{self.reason}: {self.text}"

    def to_mapper(self, grpc: bool) -> dict[str, Any]:
        form = (
            {"text_format_source": {"inline_string": self.content}}
            if grpc
            else {"json_format": {"error": self.content}}
        )
        return {
            "filter": {"response_flag_filter": {"flags": list(self.flags)}} if self.flags else _status(self.status),
            "body_format_override": form,
            **({"status_code": self.new_status} if self.new_status else {}),
        }


def _status(status: int | None) -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": "none"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


NOT_THERE = Reply(
    Reason.BUSY, "the server is not there just now, and is started again; try again later", ("UH", "UF"), new_status=503
)
LOST = Reply(
    Reason.LOST, "the server ended the connection; the work may have been done", ("UC", "UR", "UPE"), new_status=502
)
REPLIES = (
    Reply(Reason.BUSY, "this caller sends too many requests; slow down", ("RL",), new_status=429),
    NOT_THERE,
    Reply(Reason.BUSY, "there is no room for the request now; try again later", ("UO", "OM", "RLSE"), new_status=503),
    Reply(Reason.TIMEOUT, "no answer within the request's time", ("UT", "SI", "DT", "UMSDR"), new_status=504),
    LOST,
    Reply(Reason.KEY, "show a key: Authorization: Bearer KEY", status=401),
    Reply(Reason.IMAGE_TOO_LARGE, "the request is larger than any that is served", status=413),
    Reply(Reason.ROUTE, "nothing is served under this address", status=404),
    Reply(Reason.REQUEST, "the request's body must not be compressed", status=415),
)
