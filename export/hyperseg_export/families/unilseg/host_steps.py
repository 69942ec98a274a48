"""What happens outside the graphs, by the runtime's own functions, as golden arrays store it."""

from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hyperseg_export.checkpoint.tokenizer_files import to_json
from hyperseg_export.families.unilseg.clip_tokenizer import clip_tokenizer
from hyperseg_runtime.families.unilseg.published import PUBLISHED
from hyperseg_runtime.families.unilseg.words import word_ids
from hyperseg_runtime.heads.binary import THRESHOLD
from hyperseg_runtime.images.letterbox import BARS_RGB, LetterboxGeometry, normalised
from hyperseg_runtime.images.warp import warp_f32, warp_u8
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE, Tokenizer


class RuntimeSteps:
    """See `golden_cases.HostSteps`."""

    def letterbox(self, image: np.ndarray, side_px: int) -> np.ndarray:
        geometry = LetterboxGeometry((image.shape[0], image.shape[1]), side_px)
        return warp_u8(image, geometry.to_square.inverse(), (side_px, side_px), BARS_RGB)

    def normalise(self, square: np.ndarray) -> np.ndarray:
        return normalised(square)

    def to_image(self, probabilities: np.ndarray, image_hw: tuple[int, int]) -> np.ndarray:
        geometry = LetterboxGeometry(image_hw, len(probabilities))
        return warp_f32(probabilities, geometry.to_square, image_hw)

    def mask(self, probabilities: np.ndarray) -> np.ndarray:
        inside: np.ndarray = probabilities > np.float32(THRESHOLD)
        return inside

    def token_ids(self, sentence: str, words: int) -> np.ndarray:
        return word_ids(self._tokenizer, sentence, words, PUBLISHED.start_token_id, PUBLISHED.end_token_id)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        with TemporaryDirectory() as folder:
            path = Path(folder) / TOKENIZER_FILE
            path.write_bytes(to_json(clip_tokenizer()))
            return Tokenizer(path)
