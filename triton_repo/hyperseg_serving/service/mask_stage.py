"""Masks from what the image graphs made elsewhere: the ensemble's last step, without the server around it."""

from collections.abc import Mapping, Sequence

from hyperseg_runtime.backends.base import Backend, Buffer
from hyperseg_runtime.contracts.graph_spec import Reuse
from hyperseg_runtime.contracts.requests import Expressions
from hyperseg_runtime.contracts.results import Result
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.contract import typical_sizes
from hyperseg_serving.service.requests import MaskRequest
from hyperseg_serving.service.responses import Response, result_response


class MaskStage:
    """One request at a time. `backend` is the pipeline's."""

    def __init__(self, pipeline: Pipeline, backend: Backend, bundle_id: str) -> None:
        self._pipeline = pipeline
        self._backend = backend
        self._bundle_id = bundle_id

    def respond(self, request: MaskRequest) -> Response:
        """Masks of the expressions, in the family's first task for them."""
        outputs = {name: self._backend.upload(array) for name, array in request.outputs.items()}
        found = self._segment(outputs, request.size_hw, Expressions.of(request.texts))
        return result_response(found, {"bundle": self._bundle_id})

    def warm_up(self, size_hw: tuple[int, int]) -> None:
        """Run what requests will run: the family's expressions about an image of this size, whose outputs are zeros."""
        graphs = [entry.spec for entry in self._pipeline.bundle.manifest.graphs if entry.spec.reuse is Reuse.IMAGE]
        zeros = {t.name: self._backend.zeros(t, typical_sizes(graph)) for graph in graphs for t in graph.outputs}
        for request in self._pipeline.family.warm_up:
            if isinstance(request, Expressions):
                self._segment(zeros, size_hw, request)

    def close(self) -> None:
        self._pipeline.close()

    def _segment(
        self, outputs: Mapping[str, Buffer], size_hw: tuple[int, int], request: Expressions
    ) -> Sequence[Result]:
        with self._pipeline.open_computed(outputs, size_hw) as session:
            return session.run(request)
