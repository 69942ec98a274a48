"""PSALM's graph calls beside the shared ones: see the image, decode the masks."""

from collections.abc import Mapping, Sequence

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.families.mask_queries.graph_specs import DECODED_MAPS
from hyperseg_runtime.families.mask_queries.stages import ListedOutputs, MaskQueryStages
from hyperseg_runtime.families.psalm.spec import IMAGE_TOKENS, PsalmDimensions
from hyperseg_runtime.llm.prompt import Prompt


class PsalmStages(MaskQueryStages[PsalmDimensions, ListedOutputs]):
    segmentation_graphs = ("image_encoder", "llm", "pixel_decoder", "mask_decoder")

    def perceive(self, images: Buffer) -> tuple[Buffer, dict[str, Buffer]]:
        """images (B, 3, S, S) float32 -> image tokens (B, N, D), and decoded maps by name."""
        seen = self._run("image_encoder", {"images": images})
        decoded = self._run("pixel_decoder", {name: seen[name] for name in ("res2", "res3", "res4", "res5")})
        return seen[IMAGE_TOKENS], {name: decoded[name] for name in DECODED_MAPS}

    def decode(
        self, features: Mapping[str, Buffer], hidden_states: Buffer, prompts: Sequence[Prompt], first_row: int = 0
    ) -> ListedOutputs:
        rows = self.read_out_inputs(hidden_states, prompts, first_row)
        outputs = self._run("mask_decoder", {**features, **rows})
        names = ("mask_logits", "score_logits", "class_logits", "region_logits")
        return ListedOutputs(*(outputs[name] for name in names))
