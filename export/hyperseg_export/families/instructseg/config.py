"""All dimensions of an InstructSeg checkpoint, read from its tensors first and from its config.json second."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hyperseg_export.families.instructseg.config_json import ConfigJson
from hyperseg_export.families.mask_queries.config import ConfigReader, MaskQueryConfig, check_context
from hyperseg_export.families.mask_queries.config_json import parse_config
from hyperseg_export.families.tensor_shapes import Shapes, check_heads
from hyperseg_export.modules.latent_attention import LatentConfig
from hyperseg_export.modules.siglip import SiglipConfig
from hyperseg_runtime.families.instructseg.spec import InstructsegDimensions

SWIN = "model.vision_tower_mask"
DEFAULT_CONTEXT = 1536
"""Room for the 1,421 fixed tokens of a frame's prompt with four references and an expression (instructseg-spec 7).
Attention reads the whole cache on every call, so more than needed costs time."""
TEXT_ROWS = 69
"""Of an image's prompt: system text, template and answer. Tokenizers with fewer merges take more."""


@dataclass(frozen=True)
class InstructsegConfig(MaskQueryConfig):
    logit_rows: int
    siglip: SiglipConfig
    projector_layers: int
    perceiver: LatentConfig
    perceiver_queries: int
    fusion: LatentConfig
    reference_frames: int

    def dimensions(self, seg_token_id: int, eos_token_id: int) -> InstructsegDimensions:
        """The part the runtime needs."""
        return InstructsegDimensions(
            **self.shared_dimensions(seg_token_id, eos_token_id),
            logit_rows=self.logit_rows,
            image_tokens=self.siglip.tokens,
            clip_image_px=self.siglip.image_px,
            perceiver_queries=self.perceiver_queries,
            perceiver_media_width=self.perceiver.media_width,
            fusion_media_width=self.fusion.media_width,
            reference_frames=self.reference_frames,
        )

    @classmethod
    def from_checkpoint(
        cls, config: Mapping[str, Any], shapes: Shapes, context: int | None = None
    ) -> "InstructsegConfig":
        """Raises CheckpointError where config.json and the tensors disagree or lack something.

        `context` (cache slots) goes before what config.json and the default say.
        """
        read = _Reader(parse_config(ConfigJson, config), shapes)
        vision, release = read.config.vision_config, read.config.hyperseg_trt
        return cls(
            **read.shared(SWIN, DEFAULT_CONTEXT, context),
            logit_rows=read.logit_rows(),
            siglip=read.siglip(vision.vision_tower),
            projector_layers=vision.mm_projector.layers,
            perceiver=read.latents("ovp_layers", release.perceiver_heads),
            perceiver_queries=read.shape("temporal_query", 2)[0],
            fusion=read.latents("vmtf_layers", release.fusion_heads),
            reference_frames=release.reference_frames,
        )

    def check_context(self) -> None:
        """Raise CheckpointError if no prompt about an image fits into the language model's cache."""
        visual = self.siglip.tokens + self.perceiver_queries + self.mask_decoder.queries
        check_context(self.phi.context, visual, TEXT_ROWS, "image, perceiver and mask queries")


class _Reader(ConfigReader[ConfigJson]):
    def latents(self, prefix: str, heads: int) -> LatentConfig:
        """All widths are the tensors' own: several are equal in the published model without having to be."""
        inner, width = self.shape(f"{prefix}.layers.0.0.to_q.weight", 2)
        check_heads(prefix, inner, heads)
        return LatentConfig(
            width=width,
            heads=heads,
            head_width=inner // heads,
            mlp_width=self.shape(f"{prefix}.layers.0.1.1.weight", 2)[0],
            layers=self.count(f"{prefix}.layers.{{i}}"),
        )
