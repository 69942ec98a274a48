"""What the golden arrays show beyond the graphs' outputs: inner values, and parts no graph contains."""

from torch import Tensor, nn
from torch.nn.functional import relu

from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.mask_queries.golden_graphs import (
    SIGLIP,
    Inputs,
    decoder_paths,
    decoder_values,
    shared_probes,
)
from hyperseg_export.modules.linear import Linear, Mlp
from hyperseg_export.modules.mask_decoder import ConditionScore, MaskDecoder, mask_feature_pyramid
from hyperseg_export.parity.extra_graphs import ExtraGraph, float_spec
from hyperseg_export.parity.probes import Probe, Taps

CONDITION_PROJECTORS = {
    "condition_projector": "SEG_embedding",
    "class_projector": "class_embedding",
    "region_projector": "region_embedding",
}
"""Each projects all conditions of a prompt, whatever they are."""
MapShapes = tuple[tuple[int, int], ...]


def graph_probes(config: HypersegConfig) -> dict[str, Probe]:
    """Graph name -> the inner values to show. Names are those of the golden arrays."""
    local = [f"fvp.local_project.{i}" for i in range(len(config.fvp.map_channels))]

    def fvp(taps: Taps, inputs: Inputs) -> dict[str, Tensor]:
        projected = {f"fvp_local{i}": taps[path][0] for i, path in enumerate(local)}
        return {**projected, "fvp_latents_out": taps["fvp.norm"][0]}

    return {
        **shared_probes(config),
        "clip_encoder": SIGLIP,
        "fvp": Probe((*local, "fvp.norm"), fvp),
        "mask_decoder": Probe(
            ("rows", "means", "query_projector", *CONDITION_PROJECTORS, *decoder_paths(config)),
            lambda taps, inputs: {**_read_outs(taps), **decoder_values(taps, inputs[0])},
        ),
    }


def _read_outs(taps: Taps) -> dict[str, Tensor]:
    queries, remembered = taps["rows"]
    return {
        "seg_query_hidden": queries,
        "seg_query_256": taps["query_projector"][0],
        "SEG_embedding_hidden": taps["means"][0],
        **{f"{name}_256": taps[path][0] for path, name in CONDITION_PROJECTORS.items()},
        "temporal_hidden": remembered,
    }


class AllHeads(nn.Module):
    """The mask decoder with every head of the release, on given queries and condition embeddings."""

    def __init__(self, config: HypersegConfig, level_shapes: MapShapes) -> None:
        super().__init__()
        width = config.mask_decoder.width
        self.shapes = level_shapes
        self.mask_decoder = MaskDecoder(config.mask_decoder, level_shapes)
        self.condition_score = ConditionScore(width)
        self.class_score = ConditionScore(width)
        self.region_score = ConditionScore(width)
        self.box_head = Mlp((width, width, width, 4), relu)
        self.iou_head = Linear(width, 1)
        self.reid_head = Mlp([width] * 4, relu)

    def forward(
        self,
        mask_features: Tensor,
        multi_scale0: Tensor,
        multi_scale1: Tensor,
        multi_scale2: Tensor,
        seg_query: Tensor,
        SEG_embedding: Tensor,
        class_embedding: Tensor,
        region_embedding: Tensor,
    ) -> tuple[Tensor, ...]:
        pyramid = mask_feature_pyramid(mask_features, self.shapes)
        x, normed = self.mask_decoder(seg_query, (multi_scale0, multi_scale1, multi_scale2), pyramid)
        return (
            self.mask_decoder.mask_logits(normed, mask_features),
            self.condition_score(normed, SEG_embedding),
            self.class_score(normed, class_embedding),
            self.region_score(normed, region_embedding).transpose(1, 2),
            self.box_head(normed).sigmoid(),
            self.iou_head(normed),
            x,
            self.reid_head(x),
        )


def all_heads(config: HypersegConfig, finest: tuple[int, int], level_shapes: MapShapes) -> ExtraGraph:
    """`finest` and `level_shapes` are (height, width) of the mask features and of the maps, coarsest first."""
    width, queries = config.mask_decoder.width, config.mask_decoder.queries
    inputs = [
        ("mask_features", (width, *finest)),
        *((f"multi_scale{i}", (width, *shape)) for i, shape in enumerate(level_shapes)),
        ("seg_query", (queries, width)),
        ("SEG_embedding", (1, width)),
        ("class_embedding", ("classes", width)),
        ("region_embedding", ("regions", width)),
    ]
    outputs = [
        ("pred_masks", (queries, *finest)),
        ("pred_SEG_logits", (queries, 1)),
        ("pred_class_name_logits", (queries, "classes")),
        ("pred_region_logits", ("regions", queries)),
        ("pred_boxes", (queries, 4)),
        ("pred_boxious", (queries, 1)),
        ("hs", (queries, width)),
        ("reid_embed_of_hs", (queries, width)),
    ]
    probe = Probe(decoder_paths(config), lambda taps, given: decoder_values(taps, given[0]))
    return ExtraGraph(
        float_spec("all_heads", inputs, outputs, "classes", "regions"),
        lambda: AllHeads(config, level_shapes),
        probe,
    )
