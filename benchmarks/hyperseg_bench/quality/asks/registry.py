"""Measures by name: how rows of a record are put together."""

from hyperseg_bench.quality.asks.ask import Ask
from hyperseg_bench.quality.asks.clip import ClipAsk
from hyperseg_bench.quality.asks.expression import ExpressionAsk
from hyperseg_bench.quality.asks.instances import InstancesAsk
from hyperseg_bench.quality.asks.panoptic import PanopticAsk
from hyperseg_bench.quality.asks.question import QuestionAsk
from hyperseg_bench.quality.asks.semantic import SemanticAsk

ASKS: tuple[type[Ask], ...] = (ExpressionAsk, QuestionAsk, ClipAsk, PanopticAsk, SemanticAsk, InstancesAsk)
MEASURES = {ask.measure: ask for ask in ASKS}
