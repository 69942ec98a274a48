"""All dimensions of a UniLSeg checkpoint, read from the shapes of its tensors (unilseg-spec 12)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hyperseg_export.families.tensor_shapes import Shapes, TensorShapes, check_heads
from hyperseg_export.families.unilseg.config_json import ReleaseConstants
from hyperseg_export.modules.clip_text import ClipTextConfig
from hyperseg_export.modules.query_decoder import QueryDecoderConfig
from hyperseg_export.modules.swin import SwinConfig
from hyperseg_export.modules.vision_language_fpn import VisionLanguageFpnConfig
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.families.unilseg.spec import UnilsegDimensions

HEADS = 8
"""Of every attention outside the Swin and text transformers."""
TEXT_HEAD_WIDTH = 64
LEVELS = 4

SWIN = "backbone_visual"
RESBLOCKS = "backbone.transformer.resblocks"
DECODER_LAYERS = "query_decoder.query_transformer.decoder.layers"


@dataclass(frozen=True)
class UnilsegConfig:
    image_px: int
    text: ClipTextConfig
    swin: SwinConfig
    fpn: VisionLanguageFpnConfig
    query_decoder: QueryDecoderConfig
    heads: int = HEADS

    @property
    def map_shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of res2, res3, res4, res5."""
        return self.swin.map_shapes((self.image_px, self.image_px))

    def dimensions(self) -> UnilsegDimensions:
        """The part the runtime needs. Start and end of text are the last two ids (unilseg-spec 4)."""
        res2, res3, res4, res5 = zip(self.swin.channels, self.map_shapes, strict=True)
        return UnilsegDimensions(
            image_px=self.image_px,
            words=self.text.words,
            token_rows=self.text.token_rows,
            start_token_id=self.text.token_rows - 2,
            end_token_id=self.text.token_rows - 1,
            word_width=self.text.width,
            state_width=self.text.state_width,
            map_channels=(res2[0], res3[0], res4[0], res5[0]),
            map_shapes=(res2[1], res3[1], res4[1], res5[1]),
        )

    @classmethod
    def from_checkpoint(cls, config: Mapping[str, Any], shapes: Shapes) -> "UnilsegConfig":
        """Raises CheckpointError where the tensors lack something, contradict each other or config.json."""
        read, release = _Reader(shapes), ReleaseConstants.from_config(config)
        swin = read.swin(SWIN)
        text = read.text(release.words)
        _check_image(release, swin)
        return cls(
            image_px=release.image_px,
            text=text,
            swin=swin,
            fpn=read.fpn(swin, text),
            query_decoder=read.query_decoder(swin, text),
        )


def _check_image(release: ReleaseConstants, swin: SwinConfig) -> None:
    """Maps are made smaller by 2, 4 and 8 to the size of the coarsest one, which must come out even."""
    multiple = swin.patch_px << (LEVELS - 1)
    if release.image_px % multiple:
        raise CheckpointError(f"config.json: image_px is {release.image_px}, expected a multiple of {multiple}")


class _Reader(TensorShapes):
    def agree(self, name: str, axis: int, rank: int, what: str, expected: int) -> None:
        found = self.shape(name, rank)[axis]
        if found != expected:
            raise CheckpointError(f"checkpoint: {name} has {found} on axis {axis}, {what} has {expected}")

    def text(self, words: int) -> ClipTextConfig:
        rows, width = self.shape("backbone.token_embedding.weight", 2)
        positions = self.shape("backbone.positional_embedding", 2)[0]
        if words > positions:
            raise CheckpointError(f"config.json: words is {words}, the model knows {positions} positions")
        if rows < 3:
            raise CheckpointError(f"checkpoint: {rows} token embeddings cannot hold padding, start and end of text")
        check_heads("backbone.transformer", width, TEXT_HEAD_WIDTH)
        return ClipTextConfig(
            token_rows=rows,
            words=words,
            width=width,
            mlp_width=self.shape(f"{RESBLOCKS}.0.mlp.c_fc.weight", 2)[0],
            layers=self.count(f"{RESBLOCKS}.{{i}}"),
            heads=width // TEXT_HEAD_WIDTH,
            state_width=self.shape("backbone.text_projection", 2)[1],
        )

    def fpn(self, swin: SwinConfig, text: ClipTextConfig) -> VisionLanguageFpnConfig:
        """Pixels and words are one sequence in it, so they are of one width."""
        self.agree("pixel_decoder.adapter_4.0.weight", 0, 4, "the text encoder", text.width)
        check_heads("pixel_decoder", text.width, HEADS)
        for channels in swin.channels:
            check_heads("all_fusion_module", channels, HEADS)
        return VisionLanguageFpnConfig(
            width=text.width,
            heads=HEADS,
            mlp_width=self.shape("pixel_decoder.cross_attn_4.linear1.weight", 2)[0],
            mask_width=self.shape("pixel_decoder.mask_features.0.weight", 4)[0],
            map_channels=tuple(reversed(swin.channels)),
            words=text.words,
        )

    def query_decoder(self, swin: SwinConfig, text: ClipTextConfig) -> QueryDecoderConfig:
        width = self.shape("query_decoder.visual_proj.0.weight", 4)[0]
        self.agree("pixel_decoder.mask_features.0.weight", 0, 4, "the query decoder", width)
        check_heads("query_decoder", width, HEADS)
        return QueryDecoderConfig(
            width=width,
            heads=HEADS,
            layers=self.count(f"{DECODER_LAYERS}.{{i}}"),
            mlp_width=self.shape(f"{DECODER_LAYERS}.0.linear1.weight", 2)[0],
            map_channels=swin.channels[-1],
            state_width=text.state_width,
        )
