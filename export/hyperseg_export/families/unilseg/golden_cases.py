"""What each UniLSeg golden case computes, by golden name, on one engine. Cases yield (array, found, expected)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from hyperseg_export.families.unilseg.config import UnilsegConfig
from hyperseg_export.families.unilseg.golden_graphs import probabilities_at_size, swin_at_size
from hyperseg_export.modules.positions import PIXEL_CENTRE, sequence_positions, sine_positions
from hyperseg_export.parity.extra_graphs import ExtraGraph
from hyperseg_export.parity.golden import Arrays, Found, matching
from hyperseg_runtime.backends.base import Backend, Graph
from hyperseg_runtime.families.unilseg.spec import MAPS, PAD_TOKEN_ID

REAL_SIDE_PX = 480
"""Side of the release's square, at which the case of pre- and post-processing was made."""


class HostSteps(Protocol):
    """What happens outside the graphs, as the runtime does it (unilseg-spec 3, 4, 11)."""

    def letterbox(self, image: np.ndarray, side_px: int) -> np.ndarray:
        """RGB uint8 (h, w, 3) -> uint8 (side, side, 3)."""
        ...

    def normalise(self, square: np.ndarray) -> np.ndarray:
        """uint8 (side, side, 3) -> float32 (3, side, side)."""
        ...

    def to_image(self, probabilities: np.ndarray, image_hw: tuple[int, int]) -> np.ndarray:
        """float32 (side, side) -> float32 (h, w)."""
        ...

    def mask(self, probabilities: np.ndarray) -> np.ndarray:
        """float32 -> bool, True = part of the mask."""
        ...

    def token_ids(self, sentence: str, words: int) -> np.ndarray:
        """int64 (words,), ids of the release's vocabulary."""
        ...


@dataclass(frozen=True)
class GoldenRun:
    """One engine set up on one folder."""

    directory: Path
    config: UnilsegConfig
    graphs: Mapping[str, Graph]
    backend: Backend
    open_extra: Callable[[ExtraGraph], Graph]
    weight: Callable[[str], Tensor]
    """Values of our parameters by name."""
    host: HostSteps

    def run(self, graph: Graph, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs and probes."""
        outputs = graph.run({name: self.backend.upload(inputs[name]) for name in graph.spec.input_names()})
        return {name: buffer.to_host() for name, buffer in outputs.items()}


def segmentation(run: GoldenRun, arrays: Arrays) -> Found:
    """landscape, portrait, batch2: from ids and network input to the probabilities, and to the final mask."""
    found = _segment(run, arrays["img"], arrays["word_ids"])
    if "in_image_uint8" in arrays:
        found |= _host_steps(run, run.host, arrays["in_image_uint8"], found["prob"])
    yield from matching(found, arrays)


def swapped(run: GoldenRun, arrays: Arrays) -> Found:
    """The images of batch2 with each other's sentences."""
    with np.load(run.directory / "batch2.npz", allow_pickle=False) as batch:
        yield from matching(_segment(run, batch["img"], batch["word_ids"][::-1].copy()), arrays)


def text(run: GoldenRun, arrays: Arrays) -> Found:
    yield from matching(_sentences(run, arrays["word_ids"]), arrays)
    yield from _tokens(run, arrays["word_ids"])


def swin_odd(run: GoldenRun, arrays: Arrays) -> Found:
    height, width = arrays["img"].shape[2:]
    graph = run.open_extra(swin_at_size(run.config, (height, width)))
    yield from matching(run.run(graph, {"images": arrays["img"]}), arrays)


def positions(run: GoldenRun, arrays: Arrays) -> Found:
    """The tables alone; names hold their sizes: sine2d_d12_h5_w7, sine1d_d8_l17. Stored (1, channels, places)."""
    for name, expected in arrays.items():
        kind, *sizes = name.split("_")
        channels, *extents = (int(size[1:]) for size in sizes)
        if kind == "sine2d":
            table = sine_positions(extents[0], extents[1], channels, PIXEL_CENTRE)
        else:
            table = sequence_positions(extents[0], channels)
        yield name, table.t().reshape(expected.shape).numpy(), expected


def pre_and_post_processing(run: GoldenRun, arrays: Arrays) -> Found:
    """What comes before and after the networks, at the release's size."""
    logits = arrays["post_logits"]
    graph = run.open_extra(probabilities_at_size((logits.shape[0], logits.shape[1]), REAL_SIDE_PX))
    probabilities = run.run(graph, {"mask_logits": logits[None, None]})["probabilities"][0]
    found = {"post_prob_sub6": probabilities[::6, ::6]}
    for name in sorted(array.removesuffix("_hw") for array in arrays if array.endswith("_hw")):
        found |= _prepared(run.host, name, arrays)
        height, width = (int(extent) for extent in arrays[f"{name}_hw"])
        found |= _finished(run.host, name, probabilities, (height, width))
    yield from matching(found, arrays)


CASES: Mapping[str, Callable[[GoldenRun, Arrays], Found]] = {
    "positions": positions,
    "text": text,
    "swin_odd": swin_odd,
    "landscape": segmentation,
    "portrait": segmentation,
    "batch2": segmentation,
    "batch2_swapped": swapped,
    "prepost_480": pre_and_post_processing,
}
OTHER_OPENCV = "made by OpenCV 5, whose warp is another function; the release's era is version 4 (unilseg-spec 3.2)"


def reason_for(case: str, array: str) -> str | None:
    """Why a golden array has no counterpart; None for what should have been computed."""
    return OTHER_OPENCV if case == "prepost_480_opencv5" else None


def is_input(array: str) -> bool:
    """Inputs are no results; matrices are what the steps before and after are made with; margins only describe."""
    return array in ("img", "word_ids", "post_logits", "threshold_margin") or array.endswith(
        ("in_image_uint8", "in_tokens_real", "_in_uint8", "_hw", "_corner_yx", "_post_on", "mat", "inv")
    )


def _sentences(run: GoldenRun, ids: np.ndarray) -> dict[str, np.ndarray]:
    found = run.run(run.graphs["text"], {"token_ids": ids})
    return {**found, "word": found["word_states"], "state": found["sentence_state"], "pad_mask": ids == PAD_TOKEN_ID}


def _segment(run: GoldenRun, images: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
    sentences = _sentences(run, ids)
    maps = run.run(run.graphs["image_encoder"], {"images": images})
    inputs = {**{name: maps[name] for name in MAPS}, **sentences, "word_mask": ~sentences["pad_mask"]}
    decoded = run.run(run.graphs["mask_decoder"], inputs)
    prob = decoded["probabilities"][0] if len(images) == 1 else decoded["probabilities"]
    return {**sentences, **maps, **decoded, "prob": prob, "query_states": _query_states(run, decoded)}


def _query_states(run: GoldenRun, decoded: Arrays) -> np.ndarray:
    """After the shared norm, (layers, B, 1, C): the graph's own for the last layer, which alone it computes."""
    gain, shift = run.weight("query_decoder.norm.weight"), run.weight("query_decoder.norm.bias")
    eps = run.config.query_decoder.norm_eps
    earlier = [
        layer_norm(torch.from_numpy(decoded[f"query_layer{index}"]), gain.shape, gain, shift, eps).numpy()
        for index in range(run.config.query_decoder.layers - 1)
    ]
    return np.stack([*earlier, decoded["query_normed"]])


def _host_steps(run: GoldenRun, host: HostSteps, image: np.ndarray, prob: np.ndarray) -> dict[str, np.ndarray]:
    square = host.letterbox(image, run.config.image_px)
    height, width = image.shape[:2]
    original = host.to_image(prob, (height, width))
    return {
        "warped_image_uint8": square,
        "img": host.normalise(square)[None],
        "prob_original_size": original,
        "final_mask": _as_written(host.mask(original)),
    }


def _prepared(host: HostSteps, name: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """Every n-th pixel, one corner and the sums of a warped image. Where no image is stored, nothing."""
    if f"{name}_in_uint8" not in arrays:
        return {}
    square = host.letterbox(arrays[f"{name}_in_uint8"], REAL_SIDE_PX)
    top, left = (int(extent) for extent in arrays[f"{name}_corner_yx"])
    side = arrays[f"{name}_warp_corner"].shape[0]
    return {
        f"{name}_warp_sub6": square[::6, ::6],
        f"{name}_warp_corner": square[top : top + side, left : left + side],
        f"{name}_warp_sum": square.astype(np.int64).sum((0, 1)),
        f"{name}_img_sub12": host.normalise(square)[:, ::12, ::12],
    }


def _finished(host: HostSteps, name: str, prob: np.ndarray, image_hw: tuple[int, int]) -> dict[str, np.ndarray]:
    warped = host.to_image(prob, image_hw)
    return {
        f"{name}_post_warped": warped,
        f"{name}_post_warped_sub4": warped[::4, ::4],
        f"{name}_post_mask_packed": np.packbits(host.mask(warped)),
    }


def _as_written(mask: np.ndarray) -> np.ndarray:
    return np.where(mask, np.uint8(255), np.uint8(0))


def _tokens(run: GoldenRun, tiny_ids: np.ndarray) -> Found:
    """Ids of every stored sentence, in the release's vocabulary and in the small one of the folder."""
    path = run.directory / "tokens.json"
    if not path.is_file():
        return
    sentences = json.loads(path.read_text(encoding="utf-8"))["sentences"]
    for index, stored in enumerate(sentences):
        ids = run.host.token_ids(stored["sentence"], run.config.text.words)
        yield f"tokens{index}", ids, np.array(stored["tokens"])
        yield f"tiny_tokens{index}", tiny_ids[index], np.array(stored["tiny_tokens"])
