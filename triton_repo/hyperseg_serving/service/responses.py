"""What a served model answers, and its form on the wire."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperseg_runtime.contracts.results import SegmentationResult, encode_png
from hyperseg_serving import contract
from hyperseg_serving.service.requests import Tensors, bytes_tensor


@dataclass(frozen=True)
class Response:
    """A piece of an answer's text, or the result, which comes last.

    The result is one JSON object: `results` (see `SegmentationResult.to_json`; with `png_base64` where it was
    asked for), `answer` where a question was asked, `bundle` (start of its hash) and `total_ms`.
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


def masks_response(found: Sequence[SegmentationResult], about: Mapping[str, Any], png: bool = False) -> Response:
    """The last response."""
    results = [result.to_json() for result in found]
    if png:
        for content, result in zip(results, found, strict=True):
            content["png_base64"] = base64.b64encode(encode_png(result.mask)).decode()
    return Response(result={"results": results, **about})


def parse_response(tensors: Tensors) -> Response:
    """Inverse of `Response.tensors`."""
    piece, result = tensors.get(contract.PIECE.name), tensors.get(contract.RESULT.name)
    return Response(
        piece=None if piece is None else piece.reshape(-1)[0].decode(),
        result=None if result is None else json.loads(result.reshape(-1)[0]),
    )
