"""What is seen: encoders, then pixel decoder and mask decoder, with the oracle in place of the language model.

From every feature that language or masks will read, a linear head tells what thing lies there; the mask decoder learns
to find things from codes of their attributes and places.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from hyperseg_export.families.hyperseg.training.auxiliary import Auxiliaries
from hyperseg_export.families.hyperseg.training.losses import (
    head_loss,
    mask_losses,
    mean_and_best,
    offset_loss,
    shapes_right,
    soft_iou,
)
from hyperseg_export.families.hyperseg.training.network import Network, Vision
from hyperseg_export.families.hyperseg.training.scenes import SceneArrays
from hyperseg_export.families.hyperseg.training.targets import Targets, network_inputs

CODES = 4
"""Oracle codes of an image: the first half say a thing's place, the others only attributes."""
SAID = 0.6
"""Chance that a code names one of a thing's attributes."""
PLACE_NOISE = 0.04


def vision_losses(
    network: Network, auxiliaries: Auxiliaries, scenes: SceneArrays, rows: np.ndarray, generator: torch.Generator
) -> Mapping[str, Tensor]:
    targets = Targets.of(scenes, rows)
    images = network_inputs(scenes.images[rows], network.dims.image_px, network.dims.clip_image_px)
    vision = network.see(*images)
    attributes, centres, known, chosen = draw_codes(targets, CODES, generator)
    codes = auxiliaries.oracle(attributes.flatten(0, 1), centres.flatten(0, 1), known.flatten()).unflatten(
        0, (-1, CODES)
    )
    return {
        **feature_losses(auxiliaries, vision, targets),
        **decoding_losses(network, vision, codes.unsqueeze(2) + auxiliaries.query_offsets, codes, targets, chosen),
    }


def image_encoder_losses(
    network: Network, auxiliaries: Auxiliaries, scenes: SceneArrays, rows: np.ndarray
) -> Mapping[str, Tensor]:
    """The mask branch's encoder alone."""
    images, _ = network_inputs(scenes.images[rows], network.dims.image_px, network.dims.clip_image_px)
    _, res3, res4, _ = network.run("image_encoder", images)
    return place_losses(auxiliaries, {"res3": as_rows(res3), "res4": as_rows(res4)}, Targets.of(scenes, rows))


def clip_encoder_losses(
    network: Network, auxiliaries: Auxiliaries, scenes: SceneArrays, rows: np.ndarray
) -> Mapping[str, Tensor]:
    """The language model's encoder and its projector alone."""
    _, images = network_inputs(scenes.images[rows], network.dims.image_px, network.dims.clip_image_px)
    (image_tokens,) = network.run("clip_encoder", images)
    return place_losses(auxiliaries, {"image_tokens": image_tokens}, Targets.of(scenes, rows))


def as_rows(x: Tensor) -> Tensor:
    """Map (B, C, h, w) -> (B, h * w, C)"""
    return x.flatten(2).transpose(1, 2)


def place_losses(auxiliaries: Auxiliaries, features: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
    """What features (B, P, C) on a square grid tell of the thing at each place."""
    losses: dict[str, Tensor] = {}
    for name, rows in features.items():
        labels = targets.sampled(round(rows.shape[1] ** 0.5))
        outputs, classes = auxiliaries.heads[name](rows).flatten(0, 1), targets.at(labels).flatten(0, 1)
        losses[name] = head_loss(outputs, classes)
        losses[f"{name} shapes right"] = shapes_right(outputs, classes)
    return losses


def feature_losses(auxiliaries: Auxiliaries, vision: Vision, targets: Targets) -> dict[str, Tensor]:
    """What each place's features tell of the thing there."""
    features = {
        "res3": as_rows(vision.maps[1]),
        "res4": as_rows(vision.maps[2]),
        "encoded_s16": as_rows(vision.decoded[5]),
        "encoded_s8": as_rows(vision.decoded[6]),
        "mask_features": as_rows(vision.mask_features),
        "image_tokens": vision.image_tokens,
    }
    losses = place_losses(auxiliaries, features, targets)
    size = vision.mask_features.shape[-1]
    labels = targets.sampled(size)
    axis = (torch.arange(size) + 0.5) / size
    here = torch.stack((axis.repeat(size), axis.repeat_interleave(size)), dim=1)
    offsets = targets.centres_at(labels) - here
    outputs = auxiliaries.heads["mask_features"](features["mask_features"]).flatten(0, 1)
    losses["offsets"] = offset_loss(outputs, offsets.flatten(0, 1), labels.flatten() > 0)
    cells = targets.in_cells(round(vision.fvp_tokens.shape[1] ** 0.5))
    outputs = auxiliaries.heads["fvp_tokens"](vision.fvp_tokens).flatten(0, 1)
    classes = targets.at(cells).flatten(0, 1)
    losses["fvp_tokens"] = head_loss(outputs, classes)
    losses["fvp_tokens shapes right"] = shapes_right(outputs, classes)
    return losses


def draw_codes(targets: Targets, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """attributes (B, K, 4), centres (B, K, 2), known (B, K) and which things are meant (B, K, 6) float."""
    batch = len(targets.attributes)
    picked = torch.multinomial(targets.things.float(), count, replacement=True, generator=generator)  # (B, K)
    attributes = targets.attributes.gather(1, picked.unsqueeze(-1).expand(-1, -1, 4))
    said = torch.rand(attributes.shape, generator=generator) < SAID
    known = (torch.arange(count) < count // 2).expand(batch, -1)
    one_said = torch.nn.functional.one_hot(torch.randint(4, (batch, count), generator=generator), 4).bool()
    said = said | (one_said & ~known.unsqueeze(-1))
    attributes = torch.where(said, attributes, 0)
    fits = (attributes.unsqueeze(2) == targets.attributes.unsqueeze(1)) | (attributes.unsqueeze(2) == 0)
    matching = fits.all(-1) & targets.things.unsqueeze(1)  # (B, K, 6)
    alone = torch.nn.functional.one_hot(picked, matching.shape[-1]).bool()
    chosen = torch.where(known.unsqueeze(-1), alone, matching).float()
    centres = targets.centres.gather(1, picked.unsqueeze(-1).expand(-1, -1, 2))
    centres = centres + PLACE_NOISE * torch.randn(centres.shape, generator=generator)
    return attributes, centres, known.float(), chosen


def decoding_losses(
    network: Network, vision: Vision, queries: Tensor, conditions: Tensor, targets: Targets, chosen: Tensor,
    coverage: Tensor | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Masks and scores of hidden states: queries (B, K, Q, D), conditions (B, K, D), chosen things (B, K, 6)."""
    batch, count = chosen.shape[:2]
    if coverage is None:
        coverage = targets.coverage(vision.mask_features.shape[-1])
    wanted = torch.einsum("bkt,bthw->bkhw", chosen, coverage)
    decoded = [x.repeat_interleave(count, dim=0) for x in vision.decoded]
    everything = conditions.repeat_interleave(count, dim=0)  # (B * K, K, D)
    made = network.decode(decoded, queries.flatten(0, 1), everything)
    one_each = wanted.flatten(0, 1)
    losses = [mean_and_best(mask_losses(logits, one_each)) for logits in made.layers]
    iou = soft_iou(made.layers[-1], wanted.repeat_interleave(count, dim=0))  # (B * K, Q, K)
    own = torch.arange(count).repeat(batch)
    reached = iou[torch.arange(batch * count), :, own]  # (B * K, Q)
    answers = made.scores[torch.arange(batch * count), :, own].argmax(1)
    with torch.no_grad():
        top = reached.gather(1, answers.unsqueeze(1)).mean()
    return {
        "masks": losses[-1] + 0.4 * torch.stack(losses[:-1]).sum(),
        "scores": torch.nn.functional.binary_cross_entropy_with_logits(made.scores, iou),
        "iou": top,
    }
