"""From a checkpoint to a ModelDefinition, where a language model says what queries look for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel
from torch import nn

from hyperseg_export.checkpoint.key_map import AnyRule
from hyperseg_export.checkpoint.lora import MergedCheckpoint
from hyperseg_export.checkpoint.random_weights import RandomCheckpoint
from hyperseg_export.families.mask_queries.special_tokens import SpecialTokens
from hyperseg_export.families.tensor_shapes import Shapes
from hyperseg_export.model import ModelDefinition, SourceModel, bind_model
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE


class MaskQueryConfig(Protocol):
    """All dimensions of a checkpoint."""

    @property
    def token_rows(self) -> int: ...

    def check_context(self) -> None: ...

    def dimensions(self, seg_token_id: int, eos_token_id: int) -> BaseModel: ...


Config = TypeVar("Config", bound=MaskQueryConfig)
ReadConfig = Callable[[Mapping[str, Any], Shapes, int | None], Config]
"""From config.json, the shapes of the tensors, and the cache slots asked for. Raises CheckpointError."""


@dataclass(frozen=True)
class MaskQueryDefinition(Generic[Config]):
    """How one family reads its checkpoints."""

    family: str
    read_config: ReadConfig[Config]
    rules: Callable[[Config], tuple[AnyRule, ...]]
    build_graph: Callable[[str, Config], nn.Module]

    def define(self, checkpoint: MergedCheckpoint, context: int | None = None) -> ModelDefinition:
        """Raises CheckpointError where config, shapes and tokenizer disagree, or `context` slots hold no prompt."""
        directory = checkpoint.base.directory
        tokens = SpecialTokens.of(directory)
        config = self.read_config(checkpoint.base.config, checkpoint.shapes, context)
        config.check_context()
        tokens.check_rows(config.token_rows, directory)
        return self.of(config, tokens.seg, tokens.eos, {TOKENIZER_FILE: tokens.tokenizer_json})

    def of(self, config: Config, seg: int, eos: int, files: Mapping[str, bytes]) -> ModelDefinition:
        """`seg` and `eos` are the ids of the tokens that stand for a mask and for the end of a text."""
        return ModelDefinition(
            dimensions=config.dimensions(seg, eos),
            rules=self.rules(config),
            build_graph=lambda name: self.build_graph(name, config),
            files=files,
        )

    def random_model(self, source: RandomCheckpoint, config_json: Mapping[str, Any]) -> SourceModel:
        """Of made tensors, whose last token stands for a mask."""
        config = self.read_config(config_json, source.shapes, None)
        return bind_model(self.family, self.of(config, seg=config.token_rows - 1, eos=0, files={}), source)
