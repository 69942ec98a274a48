"""The graphs as functions of trainable tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hyperseg_export.checkpoint.weights import Weights
from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.hyperseg.definition import DEFINITION
from hyperseg_export.families.hyperseg.layout import Sizes
from hyperseg_export.families.hyperseg.training.differentiable import make_differentiable
from hyperseg_export.model import bind_model
from hyperseg_export.modules.constants import constants_of
from hyperseg_export.modules.mask_decoder import MaskLogits
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions


@dataclass(frozen=True)
class TensorTable:
    """Published tensors by name, as the key map reads a checkpoint."""

    tensors: Mapping[str, Tensor]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def tensor(self, name: str) -> Tensor:
        return self.tensors[name]


@dataclass(frozen=True)
class Vision:
    """What the rest takes from images; all (B, ...) float32.

    maps are res2 to res5 and are not needed after training of the encoders; decoded are the seven inputs of the mask
    decoder in its own order.
    """

    image_tokens: Tensor
    fvp_tokens: Tensor
    decoded: tuple[Tensor, ...]
    maps: tuple[Tensor, ...] = ()

    @property
    def mask_features(self) -> Tensor:
        return self.decoded[0]


@dataclass(frozen=True)
class DecodedMasks:
    """layers: mask logits (N, Q, h, w) from the queries alone and after each decoder layer; scores (N, Q, K)."""

    layers: list[Tensor]
    scores: Tensor


class Network:
    """Calls the exporter's modules with values made from `tensors` by the key map; gradients reach `tensors`."""

    def __init__(self, sizes: Sizes, tensors: Mapping[str, Tensor], special_ids: Mapping[str, int]) -> None:
        source = TensorTable(tensors)
        config = HypersegConfig.from_checkpoint(sizes.config(), source.shapes)
        definition = DEFINITION.of(config, special_ids["seg"], special_ids["eos"], {})
        model = bind_model("hyperseg", definition, source)
        dims = model.dimensions
        assert isinstance(dims, HypersegDimensions)
        self.dims = dims
        self.tensors = tensors
        self._weights = Weights(source, model.key_map)
        self._modules = {spec.name: make_differentiable(model.module(spec.name)) for spec in model.specs}
        device = next(iter(tensors.values())).device
        self._constants = {
            graph: {name: make().to(device) for name, make in constants_of(module).items()}
            for graph, module in self._modules.items()
        }
        self._mask_embeddings: list[Tensor] = []
        for part in self._modules["mask_decoder"].modules():
            if isinstance(part, MaskLogits):
                part.register_forward_pre_hook(self._keep_mask_embeddings)

    def _keep_mask_embeddings(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._mask_embeddings.append(inputs[0])

    def run(self, graph: str, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs of one graph, in the order of its contract."""
        module, constants = self._modules[graph], self._constants[graph]
        weights = self._weights.of_module(module)
        values = {name: weights[name] for name, _ in module.named_parameters()}
        made = functional_call(module, {**values, **constants}, inputs)
        return made if isinstance(made, tuple) else (made,)

    def see(self, images: Tensor, images_clip: Tensor, latents: Tensor | None = None) -> Vision:
        """images (B, 3, P, P) and images_clip (B, 3, C, C) -> everything that depends on the images alone."""
        maps = self.run("image_encoder", images)
        if latents is None:
            latents = self.tensors["temporal_query"].expand(len(images), -1, -1)
        (fvp_tokens,) = self.run("fvp", *maps[1:], latents)
        (image_tokens,) = self.run("clip_encoder", images_clip)
        return Vision(image_tokens, fvp_tokens, self.run("pixel_decoder", *maps), maps)

    def read(self, embeds: Tensor, position_ids: Tensor, attended_slots: Tensor) -> Tensor:
        """One prefill: embeds (B, T, D), positions (B, T), slots seen (B, T, 2, 2) -> hidden states (B, T, D)."""
        batch, tokens, _ = embeds.shape
        cache = embeds.new_zeros(batch, self.dims.cache_heads, tokens, self.dims.head_width)
        start = torch.zeros(batch, dtype=torch.int64, device=embeds.device)
        slots = torch.arange(tokens, device=embeds.device)
        past = [cache] * (2 * self.dims.layers)
        return self.run("llm", embeds, position_ids, attended_slots, slots, start, *past)[0]

    def decode(self, decoded: Sequence[Tensor], queries: Tensor, conditions: Tensor) -> DecodedMasks:
        """Masks from hidden states: queries (N, Q, D), conditions (N, K, D), decoded maps (N, ...)."""
        rows = torch.arange(queries.shape[1] + conditions.shape[1], device=queries.device).expand(len(queries), -1)
        query_rows, condition_rows = rows.split((queries.shape[1], conditions.shape[1]), dim=1)
        spans = torch.stack((condition_rows, condition_rows + 1), dim=2)
        self._mask_embeddings.clear()
        _, scores, *_ = self.run(
            "mask_decoder", *decoded, torch.cat((queries, conditions), dim=1),
            query_rows, spans, query_rows[:, :1],
        )  # fmt: skip
        features = decoded[0]
        layers = [(e @ features.flatten(2)).unflatten(2, features.shape[-2:]) for e in self._mask_embeddings]
        return DecodedMasks(layers, scores)

    def memory(self, hidden: Tensor) -> Tensor:
        """Latents of the next frame from the hidden states at the perceiver's rows (hyperseg-spec 5.3)."""
        project = "temporal_query_project"
        return torch.nn.functional.linear(hidden, self.tensors[f"{project}.weight"], self.tensors[f"{project}.bias"])

    def token_logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits (R, V) of hidden states (R, D)."""
        first = torch.zeros(len(hidden), dtype=torch.int64, device=hidden.device)
        return self.run("lm_head", hidden.unsqueeze(1), first)[0]
