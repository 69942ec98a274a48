"""What the golden arrays show beyond the graphs' outputs: inner values, and parts at other sizes."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import relu

from hyperseg_export.families.unilseg.config import LEVELS, UnilsegConfig
from hyperseg_export.modules.convolution import to_map
from hyperseg_export.modules.query_decoder import MaskProbabilities
from hyperseg_export.parity import extra_graphs
from hyperseg_export.parity.extra_graphs import ExtraGraph, float_spec
from hyperseg_export.parity.probes import Probe, Taps

BLOCK_NORMS = {"self": "norm1", "cross": "norm2", "block": "norm3"}
"""Golden name of a pyramid block's state -> the norm it comes out of."""


def graph_probes(config: UnilsegConfig) -> dict[str, Probe]:
    """Graph name -> the inner values to show. Names are those of the golden arrays."""
    return {"text": _text(config), "mask_decoder": _mask_decoder(config)}


def _text(config: UnilsegConfig) -> Probe:
    layers = {f"text_layer{i}": f"text.layers.{i}" for i in range(config.text.layers)}
    names = {"text_embed": "text.stream", **layers}
    return Probe(tuple(names.values()), lambda taps, inputs: {name: taps[path][0] for name, path in names.items()})


def _mask_decoder(config: UnilsegConfig) -> Probe:
    """Maps as they are, token states of the pyramid as maps, decoder states before the last norm."""
    plain = {f"fused_res{2 + level}": f"fusion.{level}" for level in range(LEVELS)}
    plain |= {"mask_features": "fpn.mask_features", "query_visual": "query_decoder.memory"}
    plain |= {f"query_layer{i}": f"query_decoder.layers.{i}" for i in range(config.query_decoder.layers)}
    tokens: dict[str, tuple[str, tuple[int, int]]] = {}
    for level in range(LEVELS):
        golden, ours = f"fpn{LEVELS - level}", f"fpn.levels.{level}"
        plain |= {f"{golden}_lateral": f"{ours}.lateral", f"{golden}_out": f"{ours}.out"}
        plain[f"{golden}_sum"] = f"{ours}.add_coarser"
        shape = config.map_shapes[::-1][level]
        tokens |= {f"{golden}_{state}": (f"{ours}.block.{norm}", shape) for state, norm in BLOCK_NORMS.items()}

    def outputs(taps: Taps, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        return {
            **{name: taps[path][0] for name, path in plain.items()},
            **{name: to_map(taps[path][0], shape) for name, (path, shape) in tokens.items()},
            "query_text": relu(taps["query_decoder.position"][0]),
            "query_normed": taps["query_decoder.norm"][0],
        }

    position = ("query_decoder.position", "query_decoder.norm")
    return Probe((*plain.values(), *(path for path, _ in tokens.values()), *position), outputs)


def swin_at_size(config: UnilsegConfig, image_hw: tuple[int, int]) -> ExtraGraph:
    """The image encoder at another image size, with the token states after every block."""
    names = {
        f"swin_stage{stage}_block{block}": f"swin.stages.{stage}.blocks.{block}"
        for stage, depth in enumerate(config.swin.depths)
        for block in range(depth)
    }
    probe = Probe(
        tuple(names.values()),
        lambda taps, inputs: {name: taps[path][0].flatten(1, 2) for name, path in names.items()},
    )
    return extra_graphs.swin_at_size(config.swin, image_hw, probe)


class ProbabilitiesAtSize(nn.Module):
    """The end of the mask decoder at another size."""

    def __init__(self, side_px: int) -> None:
        super().__init__()
        self.probabilities_of = MaskProbabilities(side_px)

    def forward(self, mask_logits: Tensor) -> Tensor:
        return self.probabilities_of(mask_logits)


def probabilities_at_size(logits_hw: tuple[int, int], side_px: int) -> ExtraGraph:
    spec = float_spec(
        "probabilities_at_size", [("mask_logits", (1, *logits_hw))], [("probabilities", (side_px, side_px))]
    )
    return ExtraGraph(spec, lambda: ProbabilitiesAtSize(side_px))
