"""All dimensions of a PSALM checkpoint, read from its tensors first and from its config.json second."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hyperseg_export.families.mask_queries.config import ConfigReader, MaskQueryConfig, check_context
from hyperseg_export.families.mask_queries.config_json import parse_config
from hyperseg_export.families.psalm.config_json import ConfigJson
from hyperseg_export.families.tensor_shapes import Shapes
from hyperseg_export.modules.convolution_projector import ConvolutionProjectorConfig
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.families.psalm.spec import PsalmDimensions

DEFAULT_CONTEXT = 1280
"""Room for COCO's 133 classes in one prompt (1,157 rows). Attention reads the slots in use: more costs memory only."""
TEXT_ROWS = 84
"""Of a referring prompt: system text, template and answer. Tokenizers with fewer merges take more."""

SWIN, BLOCK = "model.vision_tower", "model.mm_projector.layer1.0"
FUSED_ATTENTION = "model.layers.0.self_attn.query_key_value.weight"


@dataclass(frozen=True)
class PsalmConfig(MaskQueryConfig):
    projector: ConvolutionProjectorConfig
    fused_attention: bool
    """Query, key and value of the language model lie in one tensor, head by head (psalm-spec 9)."""

    @property
    def image_tokens(self) -> int:
        return self.projector.tokens(self.map_shapes[-1])

    def dimensions(self, seg_token_id: int, eos_token_id: int) -> PsalmDimensions:
        """The part the runtime needs."""
        return PsalmDimensions(**self.shared_dimensions(seg_token_id, eos_token_id), image_tokens=self.image_tokens)

    @classmethod
    def from_checkpoint(cls, config: Mapping[str, Any], shapes: Shapes, context: int | None = None) -> "PsalmConfig":
        """Raises CheckpointError where config.json and the tensors disagree or lack something.

        `context` (cache slots) goes before what config.json and the default say.
        """
        read = _Reader(parse_config(ConfigJson, config), shapes)
        return cls(
            **read.shared(SWIN, DEFAULT_CONTEXT, context),
            projector=read.projector(),
            fused_attention=FUSED_ATTENTION in shapes,
        )

    def check_context(self) -> None:
        """Raise CheckpointError if no segmentation prompt fits into the language model's cache."""
        visual = self.image_tokens + self.mask_decoder.queries
        check_context(self.phi.context, visual, TEXT_ROWS, "image and mask queries")


class _Reader(ConfigReader[ConfigJson]):
    def projector(self) -> ConvolutionProjectorConfig:
        planes, channels, *kernel = self.shape(f"{BLOCK}.conv1.weight", 4)
        if kernel != [3, 3]:
            raise CheckpointError(f"checkpoint: {BLOCK}.conv1.weight has a kernel of {kernel}, expected [3, 3]")
        width = self.shape("model.mm_projector.fc.weight", 2)[0]
        return ConvolutionProjectorConfig(map_channels=channels, planes=planes, out_width=width)
