"""Every tensor of a published HIPIE checkpoint for given sizes: name and shape, all in float32 (hipie-spec 16)."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hyperseg_export.families.hipie.config import BACKBONE, FUSION, MASK_DINO, TEXT, TRANSFORMER
from hyperseg_export.families.release_constants import EXTENSION_KEY
from hyperseg_export.modules.dynamic_masks import MASK_MAP_SHARE, parameter_count
from hyperseg_runtime.families.hipie.canvas import LONG_PX, SHORT_PX

Names = Iterator[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class ResnetSizes:
    """Of a backbone of bottlenecks; defaults are ResNet-50's."""

    stem: int = 64
    inner: tuple[int, ...] = (64, 128, 256, 512)
    depths: tuple[int, ...] = (3, 4, 6, 3)

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the maps of strides 8, 16 and 32."""
        return tuple(4 * width for width in self.inner[1:])

    def names(self) -> Names:
        yield from _frozen(f"{BACKBONE}.stem.conv1", self.stem, 3, 7)
        before = self.stem
        for stage, (inner, depth) in enumerate(zip(self.inner, self.depths, strict=True), 2):
            for index in range(depth):
                block = f"{BACKBONE}.res{stage}.{index}"
                if index == 0:
                    yield from _frozen(f"{block}.shortcut", 4 * inner, before, 1)
                yield from _frozen(f"{block}.conv1", inner, before, 1)
                yield from _frozen(f"{block}.conv2", inner, inner, 3)
                yield from _frozen(f"{block}.conv3", 4 * inner, inner, 1)
                before = 4 * inner


@dataclass(frozen=True)
class VitSizes:
    """Of a plain backbone; defaults are ViT-H's."""

    width: int = 1280
    heads: int = 16
    mlp_width: int = 5120
    patch_px: int = 16
    grid: int = 14
    window: int = 14
    depth: int = 32
    windowed: tuple[int, ...] = (0, 1, 3, 4, 6, 7, 9, 10)
    table_side: int = 64
    fine_channels: int = 640

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the maps of strides 8, 16 and 32."""
        return (self.fine_channels, self.width, self.width)

    def names(self) -> Names:
        yield f"{BACKBONE}.pos_embed", (1, self.grid**2 + 1, self.width)
        yield from _affine(f"{BACKBONE}.patch_embed.proj", self.width, 3, self.patch_px, self.patch_px)
        for index in range(self.depth):
            block = f"{BACKBONE}.blocks.{index}"
            side = self.window if index in self.windowed else self.table_side
            yield from _affine(f"{block}.norm1", self.width)
            yield from _affine(f"{block}.attn.qkv", 3 * self.width, self.width)
            yield from _affine(f"{block}.attn.proj", self.width, self.width)
            for axis in "hw":
                yield f"{block}.attn.rel_pos_{axis}", (2 * side - 1, self.width // self.heads)
            yield from _affine(f"{block}.norm2", self.width)
            yield from _affine(f"{block}.mlp.fc1", self.mlp_width, self.width)
            yield from _affine(f"{block}.mlp.fc2", self.width, self.mlp_width)
        yield f"{BACKBONE}.fpn1.0.weight", (self.width, self.fine_channels, 2, 2)
        yield f"{BACKBONE}.fpn1.0.bias", (self.fine_channels,)


@dataclass(frozen=True)
class Sizes:
    """The numbers a checkpoint is made of. Defaults are the published ResNet-50 model's."""

    backbone: ResnetSizes | VitSizes = ResnetSizes()
    token_rows: int = 30522
    positions: int = 512
    text_width: int = 768
    text_mlp_width: int = 3072
    text_layers: int = 12
    text_heads: int = 12
    width: int = 256
    heads: int = 8
    levels: int = 4
    points: int = 4
    mlp_width: int = 2048
    fusion_width: int = 2048
    encoder_layers: int = 6
    decoder_layers: int = 6
    proposals: int = 900
    background: int = 10
    vector_encoder_layers: int = 6
    vector_decoder_layers: int = 9
    vectors: int = 300
    criterion_classes: int = 100
    short_px: int = SHORT_PX
    long_px: int = LONG_PX

    def config(self) -> dict[str, Any]:
        """config.json beside such a checkpoint: what its tensors cannot tell."""
        settings = {
            "text_heads": self.text_heads, "heads": self.heads, "mask_dino_queries": self.vectors,
            "short_px": self.short_px, "long_px": self.long_px,
        }  # fmt: skip
        if isinstance(self.backbone, VitSizes):
            settings["vit_heads"] = self.backbone.heads
        return {EXTENSION_KEY: settings}


def tensor_layout(sizes: Sizes) -> Names:
    """Every name once, names of one tensor (`second_names`) among them."""
    yield from sizes.backbone.names()
    for part in (_text, _detr, _vectors, _training):
        yield from part(sizes)
    shapes = dict(_originals(sizes))
    for name, original in second_names(sizes).items():
        yield name, shapes[original]


def second_names(sizes: Sizes) -> dict[str, str]:
    """Further name of a tensor -> its first."""
    predictor, decoder = f"{MASK_DINO}.predictor", f"{TRANSFORMER}.decoder"
    found = {name.replace("detr.detr.", f"{decoder}.", 1): name for name, _ in _heads(sizes)}
    for name, _ in _box_mlp(f"{predictor}._bbox_embed", sizes.width):
        rest = name.removeprefix(f"{predictor}._bbox_embed.")
        for index in range(sizes.vector_decoder_layers):
            for place in (predictor, f"{predictor}.decoder"):
                found[f"{place}.bbox_embed.{index}.{rest}"] = name
    for kind in ("weight", "bias"):
        found[f"{predictor}.decoder.norm.{kind}"] = f"{predictor}.decoder_norm.{kind}"
    return found


def _originals(sizes: Sizes) -> Names:
    yield from _heads(sizes)
    yield from _box_mlp(f"{MASK_DINO}.predictor._bbox_embed", sizes.width)
    yield from _affine(f"{MASK_DINO}.predictor.decoder_norm", sizes.width)


def _affine(name: str, *shape: int) -> Names:
    """A weight and a bias over its first axis."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _frozen(name: str, out_channels: int, in_channels: int, kernel: int) -> Names:
    """A convolution without bias and its BatchNorm."""
    yield f"{name}.weight", (out_channels, in_channels, kernel, kernel)
    for kind in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.norm.{kind}", (out_channels,)


def _mlp(name: str, *widths: int) -> Names:
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        yield from _affine(f"{name}.layers.{index}", outputs, inputs)


def _box_mlp(name: str, width: int) -> Names:
    yield from _mlp(name, width, width, width, 4)


def _text(sizes: Sizes) -> Names:
    width, embed = sizes.text_width, f"{TEXT}.embeddings"
    for name, rows in (("word", sizes.token_rows), ("position", sizes.positions), ("token_type", 2)):
        yield f"{embed}.{name}_embeddings.weight", (rows, width)
    yield from _affine(f"{embed}.LayerNorm", width)
    for index in range(sizes.text_layers):
        layer = f"{TEXT}.encoder.layer.{index}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            yield from _affine(f"{layer}.attention.{name}", width, width)
        yield from _affine(f"{layer}.attention.output.LayerNorm", width)
        yield from _affine(f"{layer}.intermediate.dense", sizes.text_mlp_width, width)
        yield from _affine(f"{layer}.output.dense", width, sizes.text_mlp_width)
        yield from _affine(f"{layer}.output.LayerNorm", width)


def _projections(name: str, sizes: Sizes) -> Names:
    channels = sizes.backbone.channels
    for level, (inputs, kernel) in enumerate([*((count, 1) for count in channels), (channels[-1], 3)]):
        yield from _affine(f"{name}.{level}.0", sizes.width, inputs, kernel, kernel)
        yield from _affine(f"{name}.{level}.1", sizes.width)


def _deformable(name: str, sizes: Sizes) -> Names:
    samples = sizes.heads * sizes.levels * sizes.points
    yield from _affine(f"{name}.sampling_offsets", 2 * samples, sizes.width)
    yield from _affine(f"{name}.attention_weights", samples, sizes.width)
    yield from _affine(f"{name}.value_proj", sizes.width, sizes.width)
    yield from _affine(f"{name}.output_proj", sizes.width, sizes.width)


def _norms_and_mlp(layer: str, norms: int, sizes: Sizes) -> Names:
    for number in range(1, norms + 1):
        yield from _affine(f"{layer}.norm{number}", sizes.width)
    yield from _affine(f"{layer}.linear1", sizes.mlp_width, sizes.width)
    yield from _affine(f"{layer}.linear2", sizes.width, sizes.mlp_width)


def _encoder(name: str, layers: int, sizes: Sizes) -> Names:
    for index in range(layers):
        yield from _deformable(f"{name}.layers.{index}.self_attn", sizes)
        yield from _norms_and_mlp(f"{name}.layers.{index}", 2, sizes)


def _decoder(name: str, layers: int, sizes: Sizes) -> Names:
    width = sizes.width
    yield from _mlp(f"{name}.ref_point_head", 2 * width, width, width)
    for index in range(layers):
        layer = f"{name}.layers.{index}"
        yield f"{layer}.self_attn.in_proj_weight", (3 * width, width)
        yield f"{layer}.self_attn.in_proj_bias", (3 * width,)
        yield from _affine(f"{layer}.self_attn.out_proj", width, width)
        yield from _deformable(f"{layer}.cross_attn", sizes)
        yield from _norms_and_mlp(layer, 3, sizes)


def _alignment(name: str, sizes: Sizes) -> Names:
    yield f"{name}.bias0", (1,)
    yield f"{name}.bias_lang", (sizes.text_width,)
    yield f"{name}.log_scale", (1,)
    yield from _affine(f"{name}.dot_product_projection_text", sizes.width, sizes.text_width)


def _heads(sizes: Sizes) -> Names:
    """Those that the decoder holds too, one for each of its layers and one for the proposals."""
    for index in range(sizes.decoder_layers + 1):
        yield from _box_mlp(f"detr.detr.bbox_embed.{index}", sizes.width)
    for index in range(sizes.decoder_layers):
        yield from _alignment(f"detr.detr.class_embed.{index}", sizes)
    yield from _affine(f"detr.detr.class_embed.{sizes.decoder_layers}.body", 1, sizes.width)


def _detr(sizes: Sizes) -> Names:
    width, text_width, inner = sizes.width, sizes.text_width, sizes.fusion_width
    yield from _projections("detr.detr.input_proj", sizes)
    yield from _heads(sizes)
    for index in range(sizes.decoder_layers):
        yield from _affine(f"detr.detr.iou_head.{index}", 1, width)
    yield f"{TRANSFORMER}.level_embed", (sizes.levels, width)
    for name, side in (("v", width), ("l", text_width)):
        yield from _affine(f"{FUSION}.layer_norm_{name}", side)
        yield f"{FUSION}.gamma_{name}", (side,)
        yield from _affine(f"{FUSION}.attn.{name}_proj", inner, side)
        yield from _affine(f"{FUSION}.attn.values_{name}_proj", inner, side)
        yield from _affine(f"{FUSION}.attn.out_{name}_proj", side, inner)
    yield from _encoder(f"{TRANSFORMER}.encoder", sizes.encoder_layers, sizes)
    yield from _affine(f"{TRANSFORMER}.enc_output", width, width)
    yield from _affine(f"{TRANSFORMER}.enc_output_norm", width)
    yield f"{TRANSFORMER}.tgt_embed.weight", (sizes.proposals, width)
    yield f"{TRANSFORMER}.tgt_embed_bg.weight", (sizes.background, width)
    yield f"{TRANSFORMER}.bg_query_refs.weight", (sizes.background, 4)
    yield from _decoder(f"{TRANSFORMER}.decoder", sizes.decoder_layers, sizes)
    yield from _mlp("detr.controller", width, width, width, parameter_count(width // MASK_MAP_SHARE))
    for name in ("lay3", "lay4", "jia_dcn"):
        yield from _affine(f"detr.mask_head.{name}", width, width, 3, 3)
    yield from _affine("detr.mask_head.lay1", width // 4, width, 3, 3)
    yield from _affine("detr.mask_head.lay2", width // MASK_MAP_SHARE, width // 4, 3, 3)


def _vectors(sizes: Sizes) -> Names:
    width, pixels, predictor = sizes.width, f"{MASK_DINO}.pixel_decoder", f"{MASK_DINO}.predictor"
    yield from _projections(f"{pixels}.input_proj", sizes)
    yield f"{pixels}.transformer.level_embed", (sizes.levels, width)
    yield from _encoder(f"{pixels}.transformer.encoder", sizes.vector_encoder_layers, sizes)
    for name, inputs, kernel in (("adapter_1", sizes.backbone.channels[0], 1), ("layer_1", width, 3)):
        yield f"{pixels}.{name}.weight", (width, inputs, kernel, kernel)
        yield from _affine(f"{pixels}.{name}.norm", width)
    yield from _affine(f"{pixels}.mask_features.0", width, width, 2, 2)
    yield from _affine(f"{pixels}.mask_features.1", width)
    yield from _affine(f"{pixels}.mask_features.3", width, width, 1, 1)
    for name in ("class_embed", "enc_output"):
        yield from _affine(f"{predictor}.{name}", width, width)
    for name in ("decoder_norm", "enc_output_norm"):
        yield from _affine(f"{predictor}.{name}", width)
    yield from _box_mlp(f"{predictor}._bbox_embed", width)
    yield from _mlp(f"{predictor}.mask_embed", width, width, width, width)
    yield from _decoder(f"{predictor}.decoder", sizes.vector_decoder_layers, sizes)
    for index in range(sizes.vector_decoder_layers + 2):
        yield from _alignment(f"detr.mask_dino_cls_embed.{index}", sizes)


def _training(sizes: Sizes) -> Names:
    """What is stored and never read."""
    for place in ("detr", TRANSFORMER, f"{MASK_DINO}.predictor"):
        yield from _affine(f"{place}.resizer.fc", sizes.width, sizes.text_width)
        yield from _affine(f"{place}.resizer.layer_norm", sizes.width)
    yield "criterion._iter", (1,)
    yield "detr.mask_dino_criterion.empty_weight", (sizes.criterion_classes + 1,)
