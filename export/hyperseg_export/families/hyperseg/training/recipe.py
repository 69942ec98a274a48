"""What is trained, on what, in which order. The checkpoint in `samples` had less: see its README.md."""

from dataclasses import dataclass, replace

from hyperseg_export.families.hyperseg.layout import Sizes
from hyperseg_export.families.hyperseg.training.trainer import Stage

TRAINED = Sizes(
    image_px=128,
    context=384,
    width=128,
    mlp_width=256,
    layers=4,
    heads=4,
    max_positions=512,
    token_rows=0,  # the vocabulary's
    logit_rows=0,
    clip_width=96,
    clip_mlp_width=192,
    clip_layers=5,
    clip_heads=8,
    clip_image_px=100,
    clip_patch_px=10,
    swin_width=24,
    swin_depths=(2, 2, 2, 1),
    swin_heads=(4, 8, 8, 8),
    swin_window=8,
    perceiver_width=64,
    perceiver_heads=4,
    perceiver_queries=16,
    mask_width=64,
    mask_heads=4,
    mask_mlp_width=128,
    mask_layers=3,
    mask_queries=6,
    pixel_layers=3,
    pixel_mlp_width=128,
)


def with_vocabulary(sizes: Sizes, token_rows: int) -> Sizes:
    """`sizes` with the rows that a vocabulary needs."""
    return replace(sizes, token_rows=token_rows, logit_rows=token_rows)


VISION = (
    "temporal_query", "local_project",
    "level_embed", "mgvp_layers", "expanded_seg_query_project", "pixel_decoder", "predictor", "seg_query_projector",
    "SEG_token_projector",
)  # fmt: skip
"""Parts that the vision stage trains. The encoders stay as they are, which saves half of the time."""

READING = (
    "seg_query", "model.layers", "model.embed_tokens", "model.final_layernorm", "lm_head", "temporal_query_project",
)  # fmt: skip
"""Parts that the language stage trains. What it sees stays as it is, so that is computed once."""

DECODING = ("predictor", "seg_query_projector", "SEG_token_projector")
"""What turns hidden states into masks: it joins in once they mean something."""

CODES = {"query_code": 0.5, "condition_code": 0.5, "query_head": 0.5, "condition_head": 0.5, "memory": 0.2}

FEATURES = {"res3": 0.1, "res4": 0.1, "mask_features": 0.2, "offsets": 0.2, "image_tokens": 0.3, "fvp_tokens": 0.3}
"""What is left of the vision stage's losses once masks are learned from words."""

LATENT_NOISE = 0.3
"""Most that is added to the latents, whose own spread is about 1."""

FIRST_SEED = 1_000_000
"""Seeds of training scenes start here; those below are for testing."""


IMAGE_ENCODER_STAGE = Stage("image_encoder", steps=2000, rate=2e-3, trained=("model.vision_tower_mask",))
CLIP_ENCODER_STAGE = Stage("clip_encoder", steps=6000, rate=2e-3, trained=("model.vision_tower", "model.mm_projector"))
"""Apart from the other, whose gradients are larger: clipped together, this one learns five times slower."""
VISION_STAGE = Stage("vision", steps=1000, rate=1.5e-3, trained=VISION, weights={"scores": 0.5})
LANGUAGE_STAGE = Stage("language", steps=2500, rate=1.5e-3, trained=READING, weights={**CODES, "answers": 1.0})
MASKS_STAGE = Stage(
    "masks", steps=300, rate=8e-4, trained=(*READING, *DECODING), weights={**CODES, "scores": 0.5, "answers": 1.0}
)
TOGETHER_STAGE = Stage(
    "together", steps=1800, rate=8e-4, trained=None, weights={**CODES, **FEATURES, "scores": 0.5, "answers": 1.0}
)


@dataclass(frozen=True)
class Recipe:
    """Batches are scenes of one step; expressions and questions are counted for each of them."""

    sizes: Sizes = TRAINED
    scenes: int = 24000
    seed: int = 0
    image_encoder: Stage = IMAGE_ENCODER_STAGE
    image_encoder_batch: int = 16
    clip_encoder: Stage = CLIP_ENCODER_STAGE
    clip_encoder_batch: int = 32
    vision: Stage = VISION_STAGE
    vision_batch: int = 16
    language: Stage = LANGUAGE_STAGE
    masks: Stage = MASKS_STAGE
    language_scenes: int = 4000
    """The last of all: what is seen in them is kept in memory. The encoders did not learn from them, so it is seen as
    well, and as badly, as in any other scene."""
    language_batch: int = 8
    expressions: int = 8
    questions_batch: int = 8
    questions: int = 8
    together: Stage = TOGETHER_STAGE
    together_batch: int = 8
