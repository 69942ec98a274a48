"""What the golden arrays show beyond the graphs' outputs: inner values."""

from torch import Tensor
from torch.nn.functional import relu

from hyperseg_export.families.mask_queries.golden_graphs import (
    Inputs,
    decoder_paths,
    decoder_values,
    shared_probes,
)
from hyperseg_export.families.psalm.config import PsalmConfig
from hyperseg_export.parity.probes import Probe, Taps

CONDITION_PROJECTORS = {
    "condition_projector": "SEG_embedding",
    "class_projector": "class_embedding",
    "region_projector": "region_embedding",
}
"""Each projects all conditions of a prompt, whatever they are."""
PROJECTOR = tuple(f"projector.{part}" for part in ("conv1", "conv2", "norm2", "downsample"))


def graph_probes(config: PsalmConfig) -> dict[str, Probe]:
    """Graph name -> the inner values to show. Names are those of the golden arrays."""
    read_outs = ("rows", "means", "query_projector", *CONDITION_PROJECTORS)
    return {
        **shared_probes(config),
        "image_encoder": Probe(PROJECTOR, _projector),
        "mask_decoder": Probe(
            (*read_outs, *decoder_paths(config)),
            lambda taps, inputs: {**_read_outs(taps), **decoder_values(taps, inputs[0])},
        ),
    }


def _projector(taps: Taps, inputs: Inputs) -> dict[str, Tensor]:
    """The first norm and that of the branch beside are folded into their convolutions."""
    conv1, conv2, norm2, downsample = (taps[path] for path in PROJECTOR)
    return {
        "proj_bn1": conv1[0],
        "proj_conv2_call0": conv2[0],
        "proj_conv2_call1": conv2[1],
        "proj_bn2": norm2[0],
        "proj_downsample": downsample[0],
        "proj_block": relu(norm2[0] + downsample[0]),
    }


def _read_outs(taps: Taps) -> dict[str, Tensor]:
    return {
        "seg_query_hidden": taps["rows"][0],
        "seg_query_256": taps["query_projector"][0],
        "SEG_embedding_hidden": taps["means"][0],
        **{f"{name}_256": taps[path][0] for path, name in CONDITION_PROJECTORS.items()},
    }
