"""HyperSeg's graph calls beside the shared ones: perceive the image, decode the masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.families.hyperseg.spec import LATENTS, HypersegDimensions
from hyperseg_runtime.families.mask_queries.graph_specs import DECODED_MAPS
from hyperseg_runtime.families.mask_queries.stages import ListedOutputs, MaskQueryStages
from hyperseg_runtime.llm.prompt import Prompt, SlotKind, row_numbers

FVP_TOKENS = "fvp_tokens"


@dataclass(frozen=True)
class FrameOutputs(ListedOutputs):
    memory: Buffer  # (B, F, E) latents of the next frame from `decode_frame`, else (B, 1, E) without meaning


class HypersegStages(MaskQueryStages[HypersegDimensions, FrameOutputs]):
    segmentation_graphs = ("image_encoder", "clip_encoder", "fvp", "llm", "pixel_decoder", "mask_decoder")

    def first_latents(self, batch: int) -> Buffer:
        """Perceiver latents of a single image or a first frame, (B, F, E) float32."""
        if batch == 1:
            return self._blocks(LATENTS)
        return self._backend.upload(np.repeat(self._tables.table(LATENTS)[None], batch, axis=0))

    def perceive(self, images: Buffer, latents: Buffer) -> dict[str, Buffer]:
        """images (B, 3, S, S) and latents (B, F, E), float32 -> perceiver tokens (B, F, D) and decoded maps by name."""
        maps = self._run("image_encoder", {"images": images})
        coarse = {name: maps[name] for name in ("res3", "res4", "res5")}
        fvp = self._run("fvp", {**coarse, "latents": latents})
        pyramid = {name: maps[name] for name in ("res2", "res3", "res4", "res5")}
        decoded = self._run("pixel_decoder", pyramid)
        return {FVP_TOKENS: fvp[FVP_TOKENS], **{name: decoded[name] for name in DECODED_MAPS}}

    def decode(
        self, features: Mapping[str, Buffer], hidden_states: Buffer, prompts: Sequence[Prompt], first_row: int = 0
    ) -> FrameOutputs:
        return self._decode(features, hidden_states, prompts, first_row, np.zeros((len(prompts), 1), np.int64))

    def decode_frame(
        self, features: Mapping[str, Buffer], hidden_states: Buffer, prompts: Sequence[Prompt]
    ) -> FrameOutputs:
        """`decode` of a video frame: also makes the latents of the next frame (hyperseg-spec 7)."""
        remembered = np.stack([row_numbers(prompt.spans(SlotKind.PERCEIVER)) for prompt in prompts])
        return self._decode(features, hidden_states, prompts, 0, remembered)

    def _decode(
        self,
        features: Mapping[str, Buffer],
        hidden_states: Buffer,
        prompts: Sequence[Prompt],
        first_row: int,
        remembered: np.ndarray,
    ) -> FrameOutputs:
        maps = {name: features[name] for name in DECODED_MAPS}
        rows = self.read_out_inputs(hidden_states, prompts, first_row)
        outputs = self._run("mask_decoder", {**maps, **rows, "remembered_rows": self.upload(remembered)})
        names = ("mask_logits", "score_logits", "class_logits", "region_logits", "memory")
        return FrameOutputs(*(outputs[name] for name in names))
