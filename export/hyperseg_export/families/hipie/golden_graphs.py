"""What the golden arrays show beyond the graphs' outputs: inner values of the networks."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.functional import relu

from hyperseg_export.families.hipie.config import MAPS, HipieConfig
from hyperseg_export.modules.plain_vit import PlainVit, PlainVitConfig
from hyperseg_export.modules.resnet import ResnetConfig
from hyperseg_export.modules.two_stage import picked
from hyperseg_export.parity.extra_graphs import ExtraGraph, float_spec
from hyperseg_export.parity.probes import Probe, Taps
from hyperseg_runtime.contracts.graph_spec import AxisRange

TOKENS = "+".join(["rows*columns", *(f"ceil(rows/{2**level})*ceil(columns/{2**level})" for level in (1, 2, 3))])
LEVEL_AXES = (TOKENS, *(f"ceil({axis} / {factor})" for axis in ("rows", "columns") for factor in (8, 4, 2)))
MAP_AXES = (*LEVEL_AXES, "2 * rows", "2 * columns")

PROJECTIONS = (*(f"levels.{level}" for level in range(MAPS)), "coarser")


def graph_probes(config: HipieConfig) -> dict[str, Probe]:
    """One for every graph with inner values to show. What a graph gives anyway has a name there and none here."""
    return {
        "text": _text(config.text.layers),
        "image": _image(config),
        "mask_dino": _mask_dino(config.mask_dino.encoder_layers, config.mask_dino.decoder_layers),
        "detr": _detr(config.detr.encoder_layers, config.detr.decoder_layers),
    }


def _text(layers: int) -> Probe:
    names = {"text.embed_norm": "bert_embed", **_numbered("text.layers.{i}", "bert_layer{i}", layers - 1)}
    return Probe(tuple(names), lambda taps, inputs: _first(taps, names))


def _image(config: HipieConfig) -> Probe:
    if not isinstance(config.backbone, ResnetConfig):
        return Probe((), lambda taps, inputs: {})
    names = {"backbone.stem": "stem", "backbone.stages.0": "res2"}
    axes = ("ceil(height / 4)", "ceil(width / 4)")
    return Probe(tuple(names), lambda taps, inputs: _first(taps, names), axes)


def _mask_dino(encoder_layers: int, decoder_layers: int) -> Probe:
    pixels, decoder = "mask_dino.pixel_decoder", "mask_dino.decoder"
    names = {
        **{f"{pixels}.project.{part}": f"md_input_proj{level}" for level, part in enumerate(PROJECTIONS)},
        **_numbered(f"{pixels}.layers.{{i}}", "md_enc_layer{i}", encoder_layers),
        f"{pixels}.mask_features": "md_mask_features",
        "mask_dino.proposal_states": "md_two_stage_memory",
        "mask_dino.vector": "md_two_stage_class",
        "mask_dino.proposed": "md_ref_in",
        **_numbered(f"{decoder}.layers.{{i}}", "md_dec_layer{i}", decoder_layers),
        "mask_dino.norm": "md_last_state",
    }
    others = (f"{pixels}.fine_conv", "mask_dino.best", f"{decoder}.update")

    def outputs(taps: Taps, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        found = _first(taps, names)
        (fine,), (numbers,) = taps[others[0]], taps[others[1]]
        found["md_fpn_out"] = relu(fine)
        found["md_tgt_in"] = picked(found["md_two_stage_memory"], numbers)
        after = taps[others[2]][: decoder_layers - 1]
        return {**found, **{f"md_refs{index}": boxes for index, boxes in enumerate(after, 1)}}

    return Probe((*names, *others), outputs, MAP_AXES)


def _detr(encoder_layers: int, decoder_layers: int) -> Probe:
    encoder, decoder = "detr.encoder", "detr.decoder"
    names = {
        **{f"detr.project.{part}": f"input_proj{level}" for level, part in enumerate(PROJECTIONS)},
        f"{encoder}.fusion.token_out": "vl_delta_v",
        f"{encoder}.fusion.text_out": "vl_delta_l",
        **_numbered(f"{encoder}.layers.{{i}}", "enc_layer{i}", encoder_layers),
        "detr.proposal_states": "two_stage_memory",
        "detr.proposal_score": "two_stage_score",
        "detr.proposal_delta": "chosen_box_delta",
        "detr.proposed": "proposed",
        f"{decoder}.sine": "dec_sine0",
        f"{decoder}.position": "dec_query_pos0",
        **_numbered(f"{decoder}.layers.{{i}}", "dec_layer{i}", decoder_layers - 1),
    }
    others = (f"{encoder}.fusion", "detr.best", f"{decoder}.update")

    def outputs(taps: Taps, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        ((tokens, _),), (numbers,) = taps[others[0]], taps[others[1]]
        refs = {f"dec_refs{index}": boxes for index, boxes in enumerate(taps[others[2]][:-1])}
        last = taps[f"{decoder}.position"][-1]
        own = {"fused_visual": tokens, "chosen": numbers, "dec_query_pos_last": last}
        return {**_first(taps, names), **refs, **own}

    return Probe((*names, *others), outputs, MAP_AXES)


def _first(taps: Taps, names: Mapping[str, str]) -> dict[str, Tensor]:
    """What each part gave when it was first called."""
    return {name: taps[path][0] for path, name in names.items()}


def _numbered(path: str, name: str, count: int) -> dict[str, str]:
    return {path.format(i=index): name.format(i=index) for index in range(count)}


class VitAlone(nn.Module):
    """A backbone without the rest of its model."""

    def __init__(self, config: PlainVitConfig) -> None:
        super().__init__()
        self.backbone = PlainVit(config)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.backbone(images)


def vit_alone(config: PlainVitConfig) -> ExtraGraph:
    """For images of any size that is a multiple of two patches."""
    names = {
        "backbone.patches": "patches",
        **_numbered("backbone.blocks.{i}", "block{i}", len(config.windowed)),
    }
    sizes = {
        stride: (f"ceil(height / {stride})", f"ceil(width / {stride})")
        for stride in (config.patch_px // 2, config.patch_px, 2 * config.patch_px)
    }
    shapes = zip((config.fine_channels, config.width, config.width), sizes.values(), strict=True)
    outputs = [(f"res{level}", (channels, *shape)) for level, (channels, shape) in enumerate(shapes, 3)]
    axes = tuple(axis for shape in sizes.values() for axis in shape)
    probe = Probe(tuple(names), lambda taps, inputs: _first(taps, names), axes)
    spec = float_spec("vit_alone", [("images", (3, "height", "width"))], outputs, "height", "width")
    step = 2 * config.patch_px
    side_px = AxisRange(minimum=2 * step, typical=32 * step, maximum=64 * step, step=step)
    ranges = {**spec.axis_ranges, "height": side_px, "width": side_px}
    return ExtraGraph(spec.model_copy(update={"axis_ranges": ranges}), lambda: VitAlone(config), probe)
