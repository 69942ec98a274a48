"""All dimensions of a HyperSeg checkpoint, read from its tensors first and from its config.json second."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hyperseg_export.families.hyperseg.config_json import ConfigJson, parse_config
from hyperseg_export.families.tensor_shapes import Shapes, TensorShapes, check_heads
from hyperseg_export.modules.mask_decoder import MaskDecoderConfig
from hyperseg_export.modules.phi import PhiConfig
from hyperseg_export.modules.pixel_decoder import PixelDecoderConfig
from hyperseg_export.modules.resampler import ResamplerConfig
from hyperseg_export.modules.siglip import SiglipConfig
from hyperseg_export.modules.swin import SwinConfig
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.families.hyperseg.spec import STRIDES, HypersegDimensions

DEFAULT_CONTEXT = 1280
"""Room for the 1,026 fixed tokens of a segmentation prompt and an expression, or a question and its answer.
Attention reads the whole cache on every call, so more than needed costs time."""
TEXT_ROWS = 69
"""Of the 1,026: system text, template and answer. Tokenizers with fewer merges take more."""


@dataclass(frozen=True)
class HypersegConfig:
    image_px: int
    token_rows: int
    logit_rows: int
    swin: SwinConfig
    siglip: SiglipConfig
    projector_layers: int
    phi: PhiConfig
    fvp: ResamplerConfig
    pixel_decoder: PixelDecoderConfig
    mask_decoder: MaskDecoderConfig

    @property
    def map_shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of res2, res3, res4, res5."""
        return self.swin.map_shapes((self.image_px, self.image_px))

    @property
    def level_shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of the transformer levels, coarsest first."""
        return tuple(reversed(self.map_shapes[1:]))

    def dimensions(self, seg_token_id: int, eos_token_id: int) -> HypersegDimensions:
        """The part the runtime needs."""
        res2, res3, res4, res5 = zip(self.swin.channels, self.map_shapes, strict=True)
        return HypersegDimensions(
            image_px=self.image_px,
            clip_image_px=self.siglip.image_px,
            image_tokens=self.siglip.tokens,
            map_channels=(res2[0], res3[0], res4[0], res5[0]),
            map_shapes=(res2[1], res3[1], res4[1], res5[1]),
            width=self.phi.width,
            layers=self.phi.layers,
            cache_heads=self.phi.cache_heads,
            head_width=self.phi.head_width,
            context=self.phi.context,
            perceiver_queries=self.fvp.queries,
            perceiver_width=self.fvp.width,
            mask_queries=self.mask_decoder.queries,
            mask_width=self.mask_decoder.width,
            token_rows=self.token_rows,
            logit_rows=self.logit_rows,
            seg_token_id=seg_token_id,
            eos_token_id=eos_token_id,
        )

    @classmethod
    def from_checkpoint(cls, config: Mapping[str, Any], shapes: Shapes, context: int | None = None) -> "HypersegConfig":
        """Raises CheckpointError where config.json and the tensors disagree or lack something.

        `context` (cache slots) goes before what config.json and the default say.
        """
        read = _Reader(parse_config(config), shapes)
        release = read.config.hyperseg_trt
        swin = read.swin("model.vision_tower_mask")
        phi = read.phi(context or release.context)
        return cls(
            image_px=release.image_px,
            token_rows=read.shape("model.embed_tokens.weight", 2)[0],
            logit_rows=read.shape("lm_head.weight", 2)[0],
            swin=swin,
            siglip=read.siglip(),
            projector_layers=read.config.vision_config.mm_projector.layers,
            phi=phi,
            fvp=read.fvp(swin, phi, release.perceiver_heads),
            pixel_decoder=read.pixel_decoder(swin, release.mask_heads, release.deformable_points),
            mask_decoder=read.mask_decoder(release.mask_heads),
        )

    def check_context(self) -> None:
        """Raise CheckpointError if no segmentation prompt fits into the language model's cache."""
        visual = self.siglip.tokens + self.fvp.queries + self.mask_decoder.queries
        if self.phi.context < visual + TEXT_ROWS:
            raise CheckpointError(
                f"a context of {self.phi.context} tokens holds no prompt: image, perceiver and mask queries take "
                f"{visual}, the text around them at least {TEXT_ROWS}; use a --context of {visual + TEXT_ROWS} or more"
            )


class _Reader(TensorShapes):
    """Looks dimensions up in tensors and config.json."""

    def __init__(self, config: ConfigJson, shapes: Shapes) -> None:
        super().__init__(shapes)
        self.config = config

    def agree(self, setting: str, what: str, found: int) -> int:
        """The size that the tensors show; an error where config.json says otherwise."""
        stated = getattr(self.config, setting)
        if stated != found:
            raise CheckpointError(f"config.json: {setting} is {stated}, the tensors have {found} {what}")
        return found

    def siglip(self) -> SiglipConfig:
        prefix = "model.vision_tower.vision_model"
        settings = self.config.vision_config.vision_tower
        width, _, patch, _ = self.shape(f"{prefix}.embeddings.patch_embedding.weight", 4)
        stored = self.count(f"{prefix}.encoder.layers.{{i}}")
        select = settings.mm_vision_select_layer
        used = select if select >= 0 else stored + 1 + select  # hidden_states has one entry more than layers
        if not 0 < used <= stored:
            raise CheckpointError(f"config.json: mm_vision_select_layer {select} selects none of {stored} layers")
        check_heads(prefix, width, settings.num_attention_heads)
        tower = SiglipConfig(
            width=width,
            mlp_width=self.shape(f"{prefix}.encoder.layers.0.mlp.fc1.weight", 2)[0],
            layers=used,
            heads=settings.num_attention_heads,
            patch_px=patch,
            image_px=settings.image_size,
            norm_eps=settings.layer_norm_eps,
        )
        rows = self.shape(f"{prefix}.embeddings.position_embedding.weight", 2)[0]
        if tower.tokens != rows:
            raise CheckpointError(
                f"config.json: image_size {tower.image_px} with {patch} px patches gives {tower.tokens} tokens, "
                f"the position table has {rows}"
            )
        return tower

    def phi(self, context: int | None) -> PhiConfig:
        config = self.config
        width = self.agree("hidden_size", "columns", self.shape("model.embed_tokens.weight", 2)[1])
        layers = self.agree("num_hidden_layers", "layers", self.count("model.layers.{i}"))
        heads = config.num_attention_heads
        cache_heads = config.num_key_value_heads or heads
        check_heads("model.layers", width, heads)
        check_heads("model.layers: key/value", heads, cache_heads)
        rotary_width = int(config.partial_rotary_factor * (width // heads))
        if rotary_width < 2 or rotary_width % 2:
            raise CheckpointError(
                f"config.json: partial_rotary_factor {config.partial_rotary_factor} of heads {width // heads} wide "
                f"rotates {rotary_width} dims; the number must be even"
            )
        positions = config.max_position_embeddings
        if context is not None and context > positions:
            raise CheckpointError(f"a context of {context} tokens was asked for, the model knows {positions} positions")
        return PhiConfig(
            width=width,
            mlp_width=self.shape("model.layers.0.mlp.fc1.weight", 2)[0],
            layers=layers,
            heads=heads,
            cache_heads=cache_heads,
            rotary_width=rotary_width,
            rope_theta=config.rope_theta,
            context=context or min(DEFAULT_CONTEXT, positions),
            norm_eps=config.layer_norm_eps,
        )

    def fvp(self, swin: SwinConfig, phi: PhiConfig, heads: int) -> ResamplerConfig:
        queries, width = self.shape("temporal_query", 2)
        inner = self.shape("mgvp_layers.layers.0.0.to_q.weight", 2)[0]
        check_heads("mgvp_layers", inner, heads)
        return ResamplerConfig(
            width=width,
            heads=heads,
            head_width=inner // heads,
            mlp_width=self.shape("mgvp_layers.layers.0.1.1.weight", 2)[0],
            queries=queries,
            map_channels=swin.channels[1:],
            out_width=phi.width,
        )

    def pixel_decoder(self, swin: SwinConfig, heads: int, points: int) -> PixelDecoderConfig:
        layer = "pixel_decoder.transformer.encoder.layers"
        width = self.shape("pixel_decoder.mask_features.weight", 4)[0]
        check_heads("pixel_decoder", width, heads)
        return PixelDecoderConfig(
            width=width,
            heads=heads,
            points=points,
            layers=self.count(f"{layer}.{{i}}"),
            mlp_width=self.shape(f"{layer}.0.linear1.weight", 2)[0],
            map_channels=tuple(reversed(swin.channels[1:])),
            fine_channels=swin.channels[0],
        )

    def mask_decoder(self, heads: int) -> MaskDecoderConfig:
        queries, width = self.shape("predictor.query_embed.weight", 2)
        check_heads("predictor", width, heads)
        return MaskDecoderConfig(
            width=width,
            heads=heads,
            layers=self.count("predictor.transformer_ffn_layers.{i}"),
            levels=len(STRIDES),
            mlp_width=self.shape("predictor.transformer_ffn_layers.0.linear1.weight", 2)[0],
            queries=queries,
        )
