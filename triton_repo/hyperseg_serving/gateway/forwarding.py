"""What the gateway lets through: models, routes, methods and sizes, from the contract the repository is made from.

All else is answered by the gateway. In particular these are not forwarded, because a request ends release 24.10:

    HTTP /v2/models/*/infer     JSON with `classification` (SIGFPE), a huge shape (SIGABRT), brackets (SIGSEGV)
    gRPC calls of the ensemble  a caller who leaves, or whose deadline passes (SIGSEGV, SIGABRT); over HTTP it is
                                served, since there the server does not notice that a caller left

Not forwarded either: administration, statistics, shared memory, single stages, and STREAM, which belongs to the model
of videos.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hyperseg_serving import contract
from hyperseg_serving.contract import Limits
from hyperseg_serving.names import ModelNames, family_in
from hyperseg_serving.server.command import limits_of

SERVICE = "/inference.GRPCInferenceService"
GRPC_CALLS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")
GRPC_STREAM = f"{SERVICE}/ModelStreamInfer"
RELAYED = (f"{SERVICE}/ModelInfer", GRPC_STREAM)
"""Calls that callers leave while they are worked on; see `relay.py`."""
GRPC_HEALTH = "/grpc.health.v1.Health/Check"
OPEN_PATHS = ("/v2/health/live", "/v2/health/ready")
"""Need no key."""
OVERHEAD_BYTES = 1_000_000
"""Texts, options and names beside the image."""
LATE_S = 5
"""The server itself answers in time; this is how much later the gateway does."""
MAX_DEPTH = 2
"""An object of lists."""


@dataclass(frozen=True)
class Forwarding:
    names: ModelNames
    limits: Limits
    has_ensemble: bool
    """False also where its folders were deleted for want of memory."""

    @property
    def ensemble(self) -> str | None:
        return self.names.ensemble if self.has_ensemble else None

    def public_inputs(self) -> tuple[str, ...]:
        return tuple(tensor.name for tensor in contract.public_inputs(self.names.family) if tensor != contract.STREAM)

    def grpc_models(self) -> Mapping[str, tuple[str, ...]]:
        """Models that may be asked over gRPC, and the inputs of each."""
        frame = tuple(tensor.name for tensor in contract.frame_inputs())
        videos = {self.names.video: frame} if self.names.video else {}
        return {self.names.public: self.public_inputs(), **videos}

    def http_reads(self) -> tuple[str, ...]:
        """Paths of GET."""
        models = filter(None, (self.names.public, self.names.video, self.ensemble))
        return ("/v2", *(f"/v2/models/{model}{path}" for model in models for path in ("", "/ready")))

    @property
    def http_stream(self) -> str:
        return f"/v2/models/{self.names.public}/generate_stream"

    @property
    def http_ensemble(self) -> str | None:
        return f"/v2/models/{self.ensemble}/generate" if self.ensemble else None

    @property
    def max_message_bytes(self) -> int:
        return self.limits.max_image_bytes + OVERHEAD_BYTES

    @property
    def max_body_bytes(self) -> int:
        """In JSON an image is base64."""
        return self.limits.max_image_bytes * 4 // 3 + OVERHEAD_BYTES

    @property
    def max_texts(self) -> int:
        """Strings in one JSON body: names, values and lists of inputs."""
        return 2 * len(contract.public_inputs(self.names.family)) + self.limits.max_texts + self.limits.max_classes + 64

    @property
    def longest_s(self) -> int:
        """After which a request is answered with an error, whatever the server does."""
        return -(-self.limits.max_request_ms // 1000) + LATE_S

    @property
    def ensemble_at_once(self) -> int:
        """Fewer than a step's queue holds beside the public model's workers: a step that overflows is never answered
        by servers before 26.03."""
        return max(1, self.limits.max_queue - self.limits.all_workers)


def forwarding_of(repository: Path) -> Forwarding:
    """Of the models and limits that a repository has. Raises InputError for a folder that is none."""
    limits, family = limits_of(repository), family_in(repository)
    assert family is not None  # or there were no limits
    names = ModelNames(family)
    ensemble = names.ensemble is not None and (repository / names.ensemble / "config.pbtxt").is_file()
    return Forwarding(names, limits, ensemble)
