"""Masks from what the image graphs made elsewhere: the ensemble's last step, without the server around it."""

from collections.abc import Mapping, Sequence

from hyperseg_runtime.backends.base import Backend, Buffer
from hyperseg_runtime.calls.stopping import may_go_on, stoppable
from hyperseg_runtime.contracts.graph_spec import Reuse
from hyperseg_runtime.contracts.requests import Expressions
from hyperseg_runtime.contracts.results import Result
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_serving.contract import Limits, typical_sizes
from hyperseg_serving.refusals import STOPPING, Reason, RefusalError
from hyperseg_serving.service.budget import Budget
from hyperseg_serving.service.cost import require_light
from hyperseg_serving.service.requests import MaskRequest, Request, image_size
from hyperseg_serving.service.responses import Response, result_response


def require_ensemble_request(request: Request, limits: Limits, draining: bool) -> None:
    """Raise RefusalError for one that the ensemble does not take: its steps serve one request after another, so nobody
    may ask for more than is quickly done.
    """
    if draining:
        raise RefusalError(Reason.DRAINING, STOPPING)
    height_px, width_px = image_size(request.need_image(), limits)
    require_light((height_px, width_px), len(request.texts), limits)


class MaskStage:
    """One request at a time. `backend` is the pipeline's."""

    def __init__(self, pipeline: Pipeline, backend: Backend, bundle_id: str) -> None:
        self._pipeline = pipeline
        self._backend = backend
        self._bundle_id = bundle_id

    def respond(self, request: MaskRequest, budget: Budget) -> Response:
        """Masks of the expressions, in the family's first task for them. RefusalError once the budget is over."""
        with stoppable(budget.over):
            return self._respond(request)

    def _respond(self, request: MaskRequest) -> Response:
        may_go_on()
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
