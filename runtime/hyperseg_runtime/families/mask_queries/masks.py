"""From a prompt's hidden states to its masks, read where they lie: by the device, or by the host."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import NumericsError
from hyperseg_runtime.families.mask_queries.stages import MaskOutputs, MaskQueryStages, ReadMasks
from hyperseg_runtime.families.mask_queries.state import MaskQueryImage, PromptStates
from hyperseg_runtime.heads.referring import best_query
from hyperseg_runtime.images.preprocessing import ImageGeometry

Stages = MaskQueryStages[Any, Any]
Image = MaskQueryImage[Any]


@dataclass(frozen=True)
class Asked:
    """A prompt that was read; one label for each of its conditions."""

    states: PromptStates
    labels: Sequence[str]
    task: str

    def instances(
        self, masks: np.ndarray, scores: Sequence[float], queries: Sequence[int], evaluated: int
    ) -> Instances:
        """The masks (K, H, W) bool of the conditions, in their order; `evaluated` queries were looked at for them."""
        return Instances(
            asked=tuple(self.labels),
            task=self.task,
            masks=masks,
            scores=np.array(scores, np.float32),
            labels=tuple(self.labels),
            instance_details=tuple({"query": query} for query in queries),
            details={
                "queries_evaluated": evaluated,
                "prompt_tokens": self.states.prompt.length,
                "reused_tokens": self.states.reused,
            },
        )


class Begun(Protocol):
    """Masks on their way."""

    def buffers(self) -> tuple[Buffer, ...]:
        """What the host needs of the backend."""
        ...

    def instances(self, arrays: Sequence[np.ndarray]) -> Instances:
        """With the values of these buffers. Raises NumericsError."""
        ...


@dataclass(frozen=True)
class OnHost:
    """Read already."""

    found: Instances

    def buffers(self) -> tuple[Buffer, ...]:
        return ()

    def instances(self, arrays: Sequence[np.ndarray]) -> Instances:
        return self.found


@dataclass(frozen=True)
class OnDevice:
    """Work that the device was given; its answer is one bit per pixel and a few numbers."""

    asked: Asked
    read: ReadMasks
    queries: int
    width_px: int

    def buffers(self) -> tuple[Buffer, ...]:
        return self.read.finite, self.read.best_queries, self.read.best_scores, self.read.mask_bits

    def instances(self, arrays: Sequence[np.ndarray]) -> Instances:
        finite, queries, scores, bits = (array[0] for array in arrays)
        if not finite:
            raise NumericsError()
        masks = np.unpackbits(bits, axis=-1, count=self.width_px).view(np.bool_)
        return self.asked.instances(masks, scores, queries.tolist(), self.queries * len(self.asked.labels))


def masks(stages: Stages, image: Image, asked: Iterable[Asked]) -> list[Instances]:
    """The best mask for each condition of each prompt. The host waits once for all that a device reads."""
    with image.trusted():
        return finished(stages, [begun(stages, image, one) for one in asked])


def begun(stages: Stages, image: Image, asked: Asked, outputs: MaskOutputs | None = None) -> Begun:
    """`outputs` of the mask decoder, if it was run already."""
    features, geometry = image.features()
    states = asked.states
    made = outputs or stages.decode(features, states.hidden_states, [states.prompt], states.first_row)
    if not stages.reads_masks(made, geometry.original_hw):
        return OnHost(best_masks(made, geometry, asked))
    read = stages.read_masks(made, states.hidden_states, geometry.original_hw)
    return OnDevice(asked, read, made.mask_logits.shape[1], geometry.original_hw[1])


def finished(stages: Stages, started: Sequence[Begun]) -> list[Instances]:
    """Wait for all, once. Raises NumericsError."""
    with span("best_mask"):
        arrays = iter(stages.to_host([buffer for one in started for buffer in one.buffers()]))
        return [one.instances([next(arrays) for _ in one.buffers()]) for one in started]


def best_masks(outputs: MaskOutputs, geometry: ImageGeometry, asked: Asked) -> Instances:
    """As the host reads them. Raises NumericsError."""
    with span("best_mask"):
        hidden = asked.states.hidden_states.to_host()[0, asked.states.own_rows]
        mask_logits, score_logits = (buffer.to_host()[0] for buffer in (outputs.mask_logits, outputs.score_logits))
        if not all(np.isfinite(values).all() for values in (hidden, mask_logits, score_logits)):
            raise NumericsError()
        best = [best_query(mask_logits, score_logits[:, column], geometry) for column in range(len(asked.labels))]
    return asked.instances(
        np.stack([one.mask for one in best]),
        [one.score for one in best],
        [one.query for one in best],
        sum(one.evaluated for one in best),
    )
