"""Dimensions that families share, read from a checkpoint's tensors first and from its config.json second."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hyperseg_export.families.mask_queries.config_json import LanguageConfig, VisionTower
from hyperseg_export.families.tensor_shapes import Shapes, TensorShapes, check_heads
from hyperseg_export.modules.mask_decoder import MaskDecoderConfig
from hyperseg_export.modules.phi import PhiConfig
from hyperseg_export.modules.pixel_decoder import PixelDecoderConfig
from hyperseg_export.modules.siglip import SiglipConfig
from hyperseg_export.modules.swin import SwinConfig
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.families.mask_queries.graph_specs import STRIDES


@dataclass(frozen=True)
class MaskQueryConfig:
    image_px: int
    token_rows: int
    swin: SwinConfig
    phi: PhiConfig
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

    def shared_dimensions(self, seg_token_id: int, eos_token_id: int) -> dict[str, Any]:
        """Those that the runtime needs of every family, by name."""
        return {
            "image_px": self.image_px,
            "map_channels": self.swin.channels,
            "map_shapes": self.map_shapes,
            "width": self.phi.width,
            "layers": self.phi.layers,
            "cache_heads": self.phi.cache_heads,
            "head_width": self.phi.head_width,
            "context": self.phi.context,
            "mask_queries": self.mask_decoder.queries,
            "mask_width": self.mask_decoder.width,
            "token_rows": self.token_rows,
            "seg_token_id": seg_token_id,
            "eos_token_id": eos_token_id,
        }


def check_context(context: int, visual: int, text: int, blocks: str) -> None:
    """Raise CheckpointError if no segmentation prompt fits into the language model's cache: `visual` rows of `blocks`
    and at least `text` rows of system text, template and answer.
    """
    if context < visual + text:
        raise CheckpointError(
            f"a context of {context} tokens holds no prompt: {blocks} take {visual}, the text around them at least "
            f"{text}; use a --context of {visual + text} or more"
        )


Config = TypeVar("Config", bound=LanguageConfig)


class ConfigReader(TensorShapes, Generic[Config]):
    """Looks dimensions up in tensors and config.json."""

    def __init__(self, config: Config, shapes: Shapes) -> None:
        super().__init__(shapes)
        self.config = config

    def shared(self, swin_name: str, default_context: int, context: int | None) -> dict[str, Any]:
        """Fields of a `MaskQueryConfig`. `context` (cache slots) goes before what config.json and the default say."""
        release = self.config.hyperseg_trt
        swin = self.swin(swin_name)
        return {
            "image_px": release.image_px,
            "token_rows": self.shape("model.embed_tokens.weight", 2)[0],
            "swin": swin,
            "phi": self.phi(default_context, context or release.context),
            "pixel_decoder": self.pixel_decoder(swin, release.mask_heads, release.deformable_points),
            "mask_decoder": self.mask_decoder(release.mask_heads),
        }

    def logit_rows(self) -> int:
        """Ids that the language head scores."""
        return self.shape("lm_head.weight", 2)[0]

    def agree(self, setting: str, what: str, found: int) -> int:
        """The size that the tensors show; an error where config.json says otherwise."""
        stated = getattr(self.config, setting)
        if stated != found:
            raise CheckpointError(f"config.json: {setting} is {stated}, the tensors have {found} {what}")
        return found

    def phi(self, default_context: int, context: int | None) -> PhiConfig:
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
            context=context or min(default_context, positions),
            norm_eps=config.layer_norm_eps,
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

    def siglip(self, settings: VisionTower) -> SiglipConfig:
        prefix = "model.vision_tower.vision_model"
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
