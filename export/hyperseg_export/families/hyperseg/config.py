"""All dimensions of a HyperSeg checkpoint, read from its tensors first and from its config.json second."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hyperseg_export.families.hyperseg.config_json import ConfigJson
from hyperseg_export.families.mask_queries.config import ConfigReader, MaskQueryConfig, check_context
from hyperseg_export.families.mask_queries.config_json import parse_config
from hyperseg_export.families.tensor_shapes import Shapes, check_heads
from hyperseg_export.modules.resampler import ResamplerConfig
from hyperseg_export.modules.siglip import SiglipConfig
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions

SWIN = "model.vision_tower_mask"
DEFAULT_CONTEXT = 1280
"""Room for the 1,026 fixed tokens of a segmentation prompt and an expression, or a question and its answer.
Attention reads the whole cache on every call, so more than needed costs time."""
TEXT_ROWS = 69
"""Of the 1,026: system text, template and answer. Tokenizers with fewer merges take more."""


@dataclass(frozen=True)
class HypersegConfig(MaskQueryConfig):
    logit_rows: int
    siglip: SiglipConfig
    projector_layers: int
    fvp: ResamplerConfig
    prompt_frames: int
    reidentification: bool

    def dimensions(self, seg_token_id: int, eos_token_id: int) -> HypersegDimensions:
        """The part the runtime needs."""
        return HypersegDimensions(
            **self.shared_dimensions(seg_token_id, eos_token_id),
            logit_rows=self.logit_rows,
            image_tokens=self.siglip.tokens,
            clip_image_px=self.siglip.image_px,
            perceiver_queries=self.fvp.queries,
            perceiver_width=self.fvp.width,
            prompt_frames=self.prompt_frames,
            reidentification=self.reidentification,
        )

    @classmethod
    def from_checkpoint(cls, config: Mapping[str, Any], shapes: Shapes, context: int | None = None) -> "HypersegConfig":
        """Raises CheckpointError where config.json and the tensors disagree or lack something.

        `context` (cache slots) goes before what config.json and the default say.
        """
        read = _Reader(parse_config(ConfigJson, config), shapes)
        shared = read.shared(SWIN, DEFAULT_CONTEXT, context)
        vision = read.config.vision_config
        return cls(
            **shared,
            logit_rows=read.logit_rows(),
            siglip=read.siglip(vision.vision_tower),
            projector_layers=vision.mm_projector.layers,
            fvp=read.fvp(shared["swin"].channels, shared["phi"].width, read.config.hyperseg_trt.perceiver_heads),
            prompt_frames=read.config.hyperseg_trt.prompt_frames,
            reidentification=read.config.hyperseg_trt.reidentification,
        )

    def check_context(self) -> None:
        """Raise CheckpointError if no segmentation prompt fits into the language model's cache."""
        visual = self.siglip.tokens + self.fvp.queries + self.mask_decoder.queries
        check_context(self.phi.context, visual, TEXT_ROWS, "image, perceiver and mask queries")


class _Reader(ConfigReader[ConfigJson]):
    def fvp(self, channels: tuple[int, ...], out_width: int, heads: int) -> ResamplerConfig:
        queries, width = self.shape("temporal_query", 2)
        inner = self.shape("mgvp_layers.layers.0.0.to_q.weight", 2)[0]
        check_heads("mgvp_layers", inner, heads)
        gate = "mgvp_layers.layers.0.gate.0.weight"
        gated = gate in self.shapes
        return ResamplerConfig(
            width=width,
            heads=heads,
            head_width=inner // heads,
            mlp_width=self.shape(gate if gated else "mgvp_layers.layers.0.1.1.weight", 2)[0],
            queries=queries,
            map_channels=channels[1:],
            out_width=out_width,
            gated=gated,
        )
