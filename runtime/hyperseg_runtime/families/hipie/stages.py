"""HIPIE's graph calls: read a text, see an image, look in it for what the text says, draw masks."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.errors import NumericsError
from hyperseg_runtime.families.hipie.spec import MAPS, HipieDimensions
from hyperseg_runtime.families.hipie.words import AskedText

Tensors = Mapping[str, Buffer]


@dataclass(frozen=True)
class TextStates:
    """A text that was read.

    asked      what it says
    states     (1, T, D) float32, rows behind its last word are filled up
    word_mask  (1, T) bool, True = a word
    mean       (1, 1, D) float32, of its words
    pieces     how many texts it was cut into to be read
    """

    asked: AskedText
    states: Buffer
    word_mask: Buffer
    mean: Buffer
    pieces: int


@dataclass(frozen=True)
class Found:
    """What the detector made of an image and a text; buffers as the graph `detr` names them.

    boxes       (Q, 4) float32, cx, cy, w, h in 0..1, of the proposals alone
    iou_logits  (Q,) float32, of the proposals alone
    """

    tensors: Tensors
    boxes: np.ndarray
    iou_logits: np.ndarray


class HipieStages:
    """Everything but pixels, token ids and mask networks stays where the backend keeps it until it is asked for."""

    def __init__(self, dims: HipieDimensions, graphs: Mapping[str, Graph], backend: Backend) -> None:
        self.dims = dims
        self._graphs = graphs
        self._backend = backend

    def open_graphs(self) -> None:
        """A broken graph shows early, and no call's time includes opening it."""
        for name in self._graphs:
            _ = self._graphs[name]

    def read(self, asked: AskedText) -> TextStates:
        """A text that is too long for the encoder is read in pieces and put together on the host."""
        pieces, step = asked.pieces(self.dims.piece_words), self._backend.token_step
        extent = -(-len(asked.ids) // step) * step
        whole = len(pieces.rows) == 1
        if whole:
            pieces = pieces.filled(min(extent, self.dims.piece_words))
        upload = self._backend.upload
        inputs = {"token_ids": upload(pieces.token_ids), "word_mask": upload(pieces.word_mask)}
        states = self._run("text", inputs)["piece_states"]
        joined = _finite(pieces.joined(states.to_host()))
        mean = joined.mean(0, dtype=np.float64).astype(np.float32)
        if whole:
            mask = inputs["word_mask"]
        else:  # rows of zeros behind the last word, as the release has it
            states = upload(np.pad(joined, ((0, extent - len(joined)), (0, 0)))[None])
            mask = upload(np.arange(extent)[None] < len(joined))
        return TextStates(asked, states, mask, upload(mean[None, None]), len(pieces.rows))

    def see(self, pixels: np.ndarray) -> Tensors:
        """pixels (3, H, W) float32 -> the backbone's maps."""
        seen = self._run("image", {"images": self._backend.upload(pixels[None])})
        return {name: seen[name] for name in MAPS}

    def vectors(self, maps: Tensors) -> Tensors:
        """What Mask DINO finds without a text."""
        return self._run("mask_dino", maps)

    def look(self, maps: Tensors, valid: np.ndarray, text: TextStates) -> Found:
        """`valid` (levels, 2) int64 rows and columns that are image."""
        words = {"text": text.states, "word_mask": text.word_mask}
        tensors = self._run("detr", {**maps, "valid": self._backend.upload(valid[None]), **words})
        with span("detr"):
            boxes, iou = self._backend.to_host((tensors["boxes"], tensors["iou_logits"]))
        first = self.dims.background
        return Found(tensors, boxes[0, first:], iou[0, first:, 0])

    def word_logits(self, found: Found, text: Buffer) -> np.ndarray:
        """Of the proposals, (Q, T) float32. Raises NumericsError."""
        aligned = self._run("alignment", {"states": found.tensors["states"], "text": text})
        logits = aligned["word_logits"].to_host()[0, self.dims.background :]
        if not (np.isfinite(logits).all() and np.isfinite(found.boxes).all() and np.isfinite(found.iou_logits).all()):
            raise NumericsError()
        return logits

    def vector_word_logits(self, vectors: Tensors, text: Buffer) -> np.ndarray:
        """Of Mask DINO's queries, (V, T) float32. Raises NumericsError."""
        logits = self._run("vector_alignment", {"vectors": vectors["vectors"], "text": text})
        return _finite(logits["vector_word_logits"].to_host()[0])

    def masks(self, found: Found, proposals: np.ndarray, valid_hw: tuple[int, int]) -> np.ndarray:
        """Mask logits (M, h, w) float32 of these proposals. Raises NumericsError."""
        rows = proposals + self.dims.background
        with span("masks"):
            parameters, centres = self._backend.to_host((found.tensors["mask_parameters"], found.tensors["centres"]))
        size_px = np.array([valid_hw[1], valid_hw[0]], np.float32)
        inputs = {"mask_parameters": parameters[:, rows], "centres_px": centres[:, rows] * size_px}
        uploaded = {name: self._backend.upload(np.ascontiguousarray(array)) for name, array in inputs.items()}
        drawn = self._run("masks", {"mask_map": found.tensors["mask_map"], **uploaded})
        return _finite(drawn["mask_logits"].to_host()[0])

    def vector_masks(self, vectors: Tensors) -> np.ndarray:
        """Mask logits (V, h, w) float32 of all of Mask DINO's queries. Raises NumericsError."""
        return _finite(vectors["vector_masks"].to_host()[0])

    def _run(self, name: str, inputs: Tensors) -> Tensors:
        with span(name):
            return self._graphs[name].run(inputs)


def _finite(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise NumericsError()
    return values
