"""Measures by name: how rows of a record are put together."""

from hyperseg_bench.quality.asks.ask import Ask
from hyperseg_bench.quality.asks.clip import ClipAsk
from hyperseg_bench.quality.asks.expression import ExpressionAsk
from hyperseg_bench.quality.asks.question import QuestionAsk

MEASURES: dict[str, type[Ask]] = {ask.measure: ask for ask in (ExpressionAsk, QuestionAsk, ClipAsk)}
