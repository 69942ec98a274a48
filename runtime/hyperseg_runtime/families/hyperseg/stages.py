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
class PromptWindow:
    """What the conditions of a prompt meant in the frames before, where a model averages them."""

    conditions: Buffer  # (B, T - 1, K, D), the latest last
    frames: int  # how many of those there were, at the end


@dataclass(frozen=True, kw_only=True)
class FrameOutputs(ListedOutputs):
    memory: Buffer  # (B, F, E) latents of the next frame from `decode_frame`, else (B, 1, E) without meaning
    window: PromptWindow | None  # for the next frame's call with the same conditions


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
        self,
        features: Mapping[str, Buffer],
        hidden_states: Buffer,
        prompts: Sequence[Prompt],
        first_row: int = 0,
        window: PromptWindow | None = None,
    ) -> FrameOutputs:
        """`window` is what the call of the frame before with the same conditions gave; None where there was none."""
        nothing = np.zeros((len(prompts), 1), np.int64)
        return self._decode(features, hidden_states, prompts, first_row, nothing, window)

    def decode_frame(
        self,
        features: Mapping[str, Buffer],
        hidden_states: Buffer,
        prompts: Sequence[Prompt],
        window: PromptWindow | None = None,
    ) -> FrameOutputs:
        """`decode` of a video frame: also makes the latents of the next frame (hyperseg-spec 7)."""
        remembered = np.stack([row_numbers(prompt.spans(SlotKind.PERCEIVER)) for prompt in prompts])
        return self._decode(features, hidden_states, prompts, 0, remembered, window)

    def _decode(
        self,
        features: Mapping[str, Buffer],
        hidden_states: Buffer,
        prompts: Sequence[Prompt],
        first_row: int,
        remembered: np.ndarray,
        window: PromptWindow | None,
    ) -> FrameOutputs:
        inputs = {name: features[name] for name in DECODED_MAPS}
        inputs |= self.read_out_inputs(hidden_states, prompts, first_row)
        inputs["remembered_rows"] = self.upload(remembered)
        before = self.dims.prompt_frames - 1
        known = (window or self._no_frames(len(prompts), inputs["condition_spans"].shape[1])) if before else None
        if known:
            inputs |= self._aggregated(known, len(prompts))
        outputs = self._run("mask_decoder", inputs)
        return FrameOutputs(
            mask_logits=outputs["mask_logits"],
            score_logits=outputs["score_logits"],
            class_logits=outputs["class_logits"],
            region_logits=outputs["region_logits"],
            reid_embeddings=outputs.get("reid_embeddings"),
            memory=outputs["memory"],
            window=PromptWindow(outputs["later_conditions"], min(known.frames + 1, before)) if known else None,
        )

    def _no_frames(self, batch: int, conditions: int) -> PromptWindow:
        """Of a single image or a first frame."""
        shape = (batch, self.dims.prompt_frames - 1, conditions, self.dims.width)
        return PromptWindow(self.upload(np.zeros(shape, np.float32)), 0)

    def _aggregated(self, window: PromptWindow, batch: int) -> dict[str, Buffer]:
        """Every frame that there is counts the same."""
        weights = np.zeros((batch, self.dims.prompt_frames), np.float32)
        weights[:, -window.frames - 1 :] = 1 / (window.frames + 1)
        return {"earlier_conditions": window.conditions, "frame_weights": self.upload(weights)}
