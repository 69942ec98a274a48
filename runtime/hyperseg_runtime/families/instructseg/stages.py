"""InstructSeg's graph calls beside the shared ones: view a frame with a text, decode the masks."""

from collections.abc import Mapping, Sequence

import numpy as np

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.families.instructseg.spec import InstructsegDimensions
from hyperseg_runtime.families.mask_queries.dimensions import TOKENS
from hyperseg_runtime.families.mask_queries.graph_specs import DECODED_MAPS
from hyperseg_runtime.families.mask_queries.stages import MaskOutputs, MaskQueryStages
from hyperseg_runtime.llm.prompt import Prompt

OVP_MEDIA, VMTF_MEDIA = "ovp_keys_values", "vmtf_keys_values"
MASK_FEATURES = (*DECODED_MAPS, VMTF_MEDIA)
"""What the mask decoder takes of a frame."""


class InstructsegStages(MaskQueryStages[InstructsegDimensions, MaskOutputs]):
    segmentation_graphs = (
        "image_encoder",
        "clip_encoder",
        "ovp_media",
        "ovp",
        "llm",
        "pixel_decoder",
        "vmtf_media",
        "mask_decoder",
    )

    def perceive(self, images: Buffer) -> dict[str, Buffer]:
        """images (B, 3, S, S) float32 -> `MASK_FEATURES` by name."""
        maps = self._run("image_encoder", {"images": images})
        pyramid = {name: maps[name] for name in ("res2", "res3", "res4", "res5")}
        found = {**self._run("pixel_decoder", pyramid), **self._run("vmtf_media", {"res5": maps["res5"]})}
        return {name: found[name] for name in MASK_FEATURES}

    def ovp_media(self, image_tokens: Buffer) -> Buffer:
        """Image tokens (B, N, D) -> what the perceiver sees of the image, whatever the text (B, N, W)."""
        return self._run("ovp_media", {"image_tokens": image_tokens})[OVP_MEDIA]

    def view(self, ovp_media: Buffer, text_ids: Sequence[int]) -> Buffer:
        """Rows (B, F, D) of the perceiver for images and one text."""
        embeds = np.repeat(self._tables.rows(TOKENS, text_ids)[None], ovp_media.shape[0], axis=0)
        return self._run("ovp", {OVP_MEDIA: ovp_media, "text_embeds": self.upload(embeds)})["ovp_tokens"]

    def decode(
        self, features: Mapping[str, Buffer], hidden_states: Buffer, prompts: Sequence[Prompt], first_row: int = 0
    ) -> MaskOutputs:
        seen = {name: features[name] for name in MASK_FEATURES}
        outputs = self._run("mask_decoder", {**seen, **self.read_out_inputs(hidden_states, prompts, first_row)})
        return MaskOutputs(outputs["mask_logits"], outputs["score_logits"])
