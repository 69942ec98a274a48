"""Masks from what the image graphs made elsewhere: the ensemble's last step, without the server around it."""

import numpy as np

from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.service.requests import MaskRequest
from hyperseg_serving.service.responses import Response, masks_response
from hyperseg_serving.service.staged import HandedOver


class MaskStage:
    """One request at a time."""

    def __init__(self, pipeline: Pipeline, given: HandedOver, bundle_id: str) -> None:
        self._pipeline = pipeline
        self._given = given
        self._bundle_id = bundle_id

    def respond(self, request: MaskRequest) -> Response:
        """Of the image only the size matters: the graphs that would see its pixels ran already."""
        self._given.give(request.made)
        with self._pipeline.open(np.zeros((*request.size_hw, 3), np.uint8)) as session:
            found = session.segment_many(request.texts)
        return masks_response(found, {"bundle": self._bundle_id})

    def close(self) -> None:
        self._pipeline.close()
