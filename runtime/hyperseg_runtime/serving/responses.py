"""What a served model answers, and its form on the wire."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hyperseg_runtime.serving import contract
from hyperseg_runtime.serving.requests import Tensors, bytes_tensor


@dataclass(frozen=True)
class Response:
    """A piece of an answer's text, or the result, which comes last.

    The result is one JSON object: `results` (see `SegmentationResult.to_json`), `answer` where a question was
    asked, `bundle` (start of its hash) and `total_ms`. `masks_png` are the masks of `results` in order, empty
    unless they were asked for.
    """

    piece: str | None = None
    result: Mapping[str, Any] | None = None
    masks_png: Sequence[bytes] = field(default=())

    def tensors(self) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        if self.piece is not None:
            found[contract.PIECE.name] = bytes_tensor(self.piece.encode())
        if self.result is not None:
            text = json.dumps(self.result, ensure_ascii=False, allow_nan=False)
            found[contract.RESULT.name] = bytes_tensor(text.encode())
        if self.masks_png:
            found[contract.MASK_PNG.name] = bytes_tensor(*self.masks_png)
        return found


def parse_response(tensors: Tensors) -> Response:
    """Inverse of `Response.tensors`."""
    piece, result = tensors.get(contract.PIECE.name), tensors.get(contract.RESULT.name)
    masks = tensors.get(contract.MASK_PNG.name)
    return Response(
        piece=None if piece is None else piece.reshape(-1)[0].decode(),
        result=None if result is None else json.loads(result.reshape(-1)[0]),
        masks_png=() if masks is None else tuple(masks.reshape(-1)),
    )
