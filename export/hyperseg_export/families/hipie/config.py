"""All dimensions of a HIPIE checkpoint, read from the shapes of its tensors (hipie-spec 16)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hyperseg_export.families.hipie.config_json import ReleaseConstants
from hyperseg_export.families.tensor_shapes import Shapes, TensorShapes, check_heads
from hyperseg_export.modules.bert import BertConfig
from hyperseg_export.modules.deformable_layers import DeformableConfig
from hyperseg_export.modules.dynamic_masks import MASK_MAP_SHARE, parameter_count
from hyperseg_export.modules.early_fusion import EarlyFusionConfig
from hyperseg_export.modules.grounded_detr import GroundedDetrConfig
from hyperseg_export.modules.levels import NORM_GROUPS
from hyperseg_export.modules.mask_dino import MaskDinoConfig
from hyperseg_export.modules.plain_vit import PlainVitConfig
from hyperseg_export.modules.resnet import ResnetConfig
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.families.hipie.spec import HipieDimensions

BACKBONE = "detr.detr.backbone.0.backbone"
TRANSFORMER = "detr.detr.transformer"
FUSION = f"{TRANSFORMER}.encoder.vl_layers.0.b_attn"
MASK_DINO = "detr.mask_dino"
TEXT = "text_encoder.body.model"

RESNET_STAGES = 4
MAPS = 3
"""Maps of a backbone that are read, of strides 8, 16 and 32."""


@dataclass(frozen=True)
class HipieConfig:
    backbone: ResnetConfig | PlainVitConfig
    text: BertConfig
    detr: GroundedDetrConfig
    mask_dino: MaskDinoConfig
    alignments: int
    """How many alignment heads of Mask DINO are stored; the last is read."""
    release: ReleaseConstants

    def dimensions(self) -> HipieDimensions:
        """The part the runtime needs."""
        fine, middle, coarse = map_channels(self.backbone)
        width = self.detr.layer.width
        return HipieDimensions(
            short_px=self.release.short_px,
            long_px=self.release.long_px,
            options=self.release.options,
            size_multiple=1 if isinstance(self.backbone, ResnetConfig) else 2 * self.backbone.patch_px,
            map_channels=(fine, middle, coarse),
            token_rows=self.text.token_rows,
            piece_words=self.text.positions,
            text_width=self.text.width,
            levels=self.detr.layer.levels,
            width=width,
            proposals=self.detr.proposals,
            background=self.detr.background,
            mask_channels=width // MASK_MAP_SHARE,
            mask_parameters=parameter_count(width // MASK_MAP_SHARE),
            vector_width=self.mask_dino.layer.width,
            vectors=self.mask_dino.queries,
        )

    @classmethod
    def from_checkpoint(cls, config: Mapping[str, Any], shapes: Shapes) -> "HipieConfig":
        """Raises CheckpointError where the tensors lack something or contradict each other or config.json."""
        read, release = _Reader(shapes), ReleaseConstants.from_config(config)
        text = read.text(release)
        backbone = read.backbone(release)
        channels = map_channels(backbone)
        return cls(
            backbone=backbone,
            text=text,
            detr=read.detr(release, text, channels),
            mask_dino=read.mask_dino(release, channels),
            alignments=read.count("detr.mask_dino_cls_embed.{i}"),
            release=release,
        )


def vit_config(shapes: Shapes, heads: int) -> PlainVitConfig:
    """Of the plain backbone among these tensors."""
    return _Reader(shapes).vit(heads)


def map_channels(backbone: ResnetConfig | PlainVitConfig) -> tuple[int, ...]:
    """Of the maps of strides 8, 16 and 32."""
    if isinstance(backbone, ResnetConfig):
        return backbone.channels[-MAPS:]
    return (backbone.fine_channels, backbone.width, backbone.width)


class _Reader(TensorShapes):
    def text(self, release: ReleaseConstants) -> BertConfig:
        rows, width = self.shape(f"{TEXT}.embeddings.word_embeddings.weight", 2)
        check_heads(TEXT, width, release.text_heads)
        return BertConfig(
            token_rows=rows,
            positions=self.shape(f"{TEXT}.embeddings.position_embeddings.weight", 2)[0],
            width=width,
            mlp_width=self.shape(f"{TEXT}.encoder.layer.0.intermediate.dense.weight", 2)[0],
            layers=self.count(f"{TEXT}.encoder.layer.{{i}}"),
            heads=release.text_heads,
        )

    def backbone(self, release: ReleaseConstants) -> ResnetConfig | PlainVitConfig:
        if f"{BACKBONE}.pos_embed" in self.shapes:
            return self.vit(release.vit_heads)
        return self.resnet()

    def resnet(self) -> ResnetConfig:
        stages = [f"{BACKBONE}.res{number}" for number in range(2, 2 + RESNET_STAGES)]
        return ResnetConfig(
            stem=self.shape(f"{BACKBONE}.stem.conv1.weight", 4)[0],
            channels=tuple(self.shape(f"{stage}.0.conv3.weight", 4)[0] for stage in stages),
            inner=tuple(self.shape(f"{stage}.0.conv1.weight", 4)[0] for stage in stages),
            depths=tuple(self.count(f"{stage}.{{i}}") for stage in stages),
        )

    def vit(self, heads: int) -> PlainVitConfig:
        """Windows have smaller tables of relative positions than the whole grid."""
        width, _, patch, _ = self.shape(f"{BACKBONE}.patch_embed.proj.weight", 4)
        check_heads(BACKBONE, width, heads)
        blocks = range(self.count(f"{BACKBONE}.blocks.{{i}}"))
        rows = tuple(self.shape(f"{BACKBONE}.blocks.{index}.attn.rel_pos_h", 2)[0] for index in blocks)
        if len(set(rows)) > 2:
            raise CheckpointError(
                f"checkpoint: {BACKBONE} has tables of relative positions of {sorted(set(rows))} rows, expected one "
                "size for windows and one for the whole image"
            )
        grid = math.isqrt(self.shape(f"{BACKBONE}.pos_embed", 3)[1] - 1)
        return PlainVitConfig(
            width=width,
            heads=heads,
            mlp_width=self.shape(f"{BACKBONE}.blocks.0.mlp.fc1.weight", 2)[0],
            patch_px=patch,
            grid=grid,
            window=(min(rows) + 1) // 2,
            table_rows=rows,
            windowed=tuple(count == min(rows) != max(rows) for count in rows),
            fine_channels=self.shape(f"{BACKBONE}.fpn1.0.weight", 4)[1],
        )

    def layer(self, path: str, level_embed: str, heads: int) -> DeformableConfig:
        """Of the transformer layers under `path`."""
        levels, width = self.shape(level_embed, 2)
        mlp_width = self.shape(f"{path}.linear1.weight", 2)[0]
        samples = self.shape(f"{path}.self_attn.attention_weights.weight", 2)[0]
        check_heads(path, width, heads)
        if samples % (heads * levels) or width % NORM_GROUPS:
            raise CheckpointError(
                f"checkpoint: {path} weighs {samples} samples of {width} channels, which {heads} heads on {levels} "
                f"levels and {NORM_GROUPS} groups cannot share"
            )
        return DeformableConfig(width, heads, levels, samples // (heads * levels), mlp_width)

    def detr(self, release: ReleaseConstants, text: BertConfig, channels: tuple[int, ...]) -> GroundedDetrConfig:
        layer = self.layer(f"{TRANSFORMER}.encoder.layers.0", f"{TRANSFORMER}.level_embed", release.heads)
        inner = self.shape(f"{FUSION}.attn.v_proj.weight", 2)[0]
        check_heads(FUSION, inner, release.heads)
        return GroundedDetrConfig(
            map_channels=channels,
            layer=layer,
            fusion=EarlyFusionConfig(layer.width, text.width, inner, release.heads),
            encoder_layers=self.count(f"{TRANSFORMER}.encoder.layers.{{i}}"),
            decoder_layers=self.count(f"{TRANSFORMER}.decoder.layers.{{i}}"),
            proposals=self.shape(f"{TRANSFORMER}.tgt_embed.weight", 2)[0],
            background=self.shape(f"{TRANSFORMER}.tgt_embed_bg.weight", 2)[0],
        )

    def mask_dino(self, release: ReleaseConstants, channels: tuple[int, ...]) -> MaskDinoConfig:
        pixels, predictor = f"{MASK_DINO}.pixel_decoder.transformer", f"{MASK_DINO}.predictor"
        layers = f"{pixels}.encoder.layers"
        return MaskDinoConfig(
            map_channels=channels,
            layer=self.layer(f"{layers}.0", f"{pixels}.level_embed", release.heads),
            encoder_layers=self.count(f"{layers}.{{i}}"),
            decoder_layers=self.count(f"{predictor}.decoder.layers.{{i}}"),
            queries=release.mask_dino_queries,
        )
