"""PSALM's golden video: the runtime's own video, with the points that the original drew."""

import numpy as np

from hyperseg_export.families.psalm.golden_results import geometry_of, region_results
from hyperseg_export.families.psalm.golden_run import GoldenRun, counted_points
from hyperseg_export.parity.golden import Arrays, Found
from hyperseg_runtime.contracts.requests import Regions
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.families.family import FrameResults
from hyperseg_runtime.families.mask_queries.prompts import region
from hyperseg_runtime.families.psalm.video import PsalmVideo
from hyperseg_runtime.images.preprocessing import longest_side_square


class _StoredPoints:
    """Draws what the original drew, and keeps what it was drawn of. Where nothing is stored every pixel counts."""

    def __init__(self) -> None:
        self.drawn: list[np.ndarray] = []
        self.regions: list[np.ndarray] = []

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        self.regions.append(counts)
        height, width = counts.shape
        return self.drawn.pop(0)[:height, :width] if self.drawn else counts


def davis(run: GoldenRun, arrays: Arrays) -> Found:
    """Masks are given with the first frame; the others see them, or those of a frame before."""
    points, side = _StoredPoints(), run.dims.image_px
    ids, objects = arrays["f1_in_input_ids"][0], arrays["first_frame_masks"].astype(bool)
    video = PsalmVideo(run.stages, lambda keys: run.prompt(ids, [region(key) for key in keys]), lambda seed: points)
    geometry = geometry_of(arrays, side)
    tokens: list[np.ndarray] = []
    maps = []
    for number, frame in enumerate(arrays["frames_uint8"]):
        points.regions.clear()
        points.drawn = [counted_points(one, side) for one in arrays.get(f"f{number}_region_points", ())]
        (ready,) = video.push(frame, Regions(masks=() if number else tuple(objects)))
        tokens.append(run.outputs("image_encoder")["image_tokens"])
        pixels, _ = longest_side_square(frame, side)
        if number == 0:
            yield "first_frame_in_images", pixels[None], arrays["first_frame_in_images"]
            continue
        maps.append(_label_map(ready, frame.shape[:2]))
        own = {name.removeprefix(f"f{number}_"): a for name, a in arrays.items() if name.startswith(f"f{number}_")}
        found = _frame(run, len(objects))
        found["in_images"] = pixels[None]
        found["in_vp_region_masks"] = _padded(points.regions, side)
        found["vp_image_tokens"] = tokens[arrays["vp_source_frame"][number - 1]]
        for name in own.keys() & found.keys():
            yield f"f{number}_{name}", found[name], own[name]
        results = region_results(found["pred_region_logits0"], found["pred_masks"][0], own, geometry)
        yield from ((f"f{number}_{name}", value, expected) for name, value, expected in results)
    yield "fused_masks", np.stack(maps), arrays["fused_masks"]


def _frame(run: GoldenRun, objects: int) -> dict[str, np.ndarray]:
    """What the graphs made of the latest frame, by golden name."""
    decoder, (call,) = run.outputs("mask_decoder"), run.graphs.calls["llm"][-1:]
    spans = run.graphs.calls["mask_decoder"][-1].inputs["condition_spans"][0]
    assert len(spans) == objects
    return {
        "image_tokens": run.outputs("image_encoder")["image_tokens"],
        "region_tokens": call.inputs["inputs_embeds"][0, spans[:, 0]][:, None],
        "last_hidden_state": call.outputs["hidden_states"],
        "region_embedding_hidden": decoder["SEG_embedding_hidden"][0],
        "region_embedding_256": decoder["region_embedding_256"][0],
        "pred_masks": decoder["mask_logits"],
        "pred_region_logits0": decoder["region_logits"][0].T,
    }


def _label_map(ready: FrameResults, image_hw: tuple[int, ...]) -> np.ndarray:
    """The number of the object at each pixel, of overlapping ones the last; (H, W) uint8."""
    labels = np.zeros(image_hw, np.uint8)
    for number, result in enumerate(ready.results, 1):
        if isinstance(result, Instances):
            labels[result.mask] = number
    return labels


def _padded(regions: list[np.ndarray], side: int) -> np.ndarray:
    return np.stack([np.pad(one, [(0, side - extent) for extent in one.shape]) for one in regions]).astype(np.uint8)
