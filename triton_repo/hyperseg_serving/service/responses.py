"""What a served model answers, and its form on the wire."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperseg_runtime.calls.stopping import may_go_on
from hyperseg_runtime.contracts.results import Instances, PanopticMap, Result, SemanticMap, encode_png
from hyperseg_runtime.families.family import FrameResults
from hyperseg_serving import contract
from hyperseg_serving.service.requests import Tensors, bytes_tensor


@dataclass(frozen=True)
class Response:
    """A piece of an answer's text, or the result, which comes last.

    The result is one JSON object: `results` (see `to_json` of the classes in `contracts.results`; with `png_base64`
    where it was asked for), for a frame of a video `frames` in their place (each with `frame`, its number from 0, and
    `results`), `answer` where a question was asked, `bundle` (start of its hash) and `total_ms`.
    """

    piece: str | None = None
    result: Mapping[str, Any] | None = None

    def tensors(self) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        if self.piece is not None:
            found[contract.PIECE.name] = bytes_tensor(self.piece.encode())
        if self.result is not None:
            text = json.dumps(self.result, ensure_ascii=False, allow_nan=False)
            found[contract.RESULT.name] = bytes_tensor(text.encode())
        return found

    def results(self) -> list[dict[str, Any]]:
        """All results of the last response, of whichever frame."""
        content = self.result or {}
        framed = [result for frame in content.get("frames", ()) for result in frame["results"]]
        return [*content.get("results", ()), *framed]


def result_response(found: Sequence[Result], about: Mapping[str, Any], png: bool = False) -> Response:
    """The last response."""
    return Response(result={"results": [_content(result, png) for result in found], **about})


def frames_response(found: Sequence[FrameResults], about: Mapping[str, Any], png: bool = False) -> Response:
    """The response to a frame: results of the frames that are ready, of this one or of earlier ones."""
    frames = [{"frame": ready.frame, "results": [_content(one, png) for one in ready.results]} for ready in found]
    return Response(result={"frames": frames, **about})


def _content(result: Result, png: bool) -> dict[str, Any]:
    """A result as JSON; `png` adds its masks, or the map, as files."""
    may_go_on()
    content = result.to_json()
    match result:
        case Instances() if png:
            for row, mask in zip(content["instances"], result.masks, strict=True):
                row["png_base64"] = _base64(encode_png(mask))
        case SemanticMap() if png:
            for row in content["classes"]:
                row["png_base64"] = _base64(encode_png(result.classes == row["class"]))
        case PanopticMap() if png:
            content["png_base64"] = _base64(result.to_png())
    return content


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def parse_response(tensors: Tensors) -> Response:
    """Inverse of `Response.tensors`."""
    piece, result = tensors.get(contract.PIECE.name), tensors.get(contract.RESULT.name)
    return Response(
        piece=None if piece is None else piece.reshape(-1)[0].decode(),
        result=None if result is None else json.loads(result.reshape(-1)[0]),
    )
