"""A graph whose arithmetic is plain and that updates a cache in place, for tests of what watches graphs."""

from collections.abc import Mapping

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec

SPEC = GraphSpec(
    name="count",
    inputs=tuple(TensorSpec(name=name, dtype=DType.FLOAT32, axes=("n",)) for name in ("step", "past")),
    outputs=(TensorSpec(name="present", dtype=DType.FLOAT32, axes=("n",)),),
    axis_ranges={"n": AxisRange(minimum=1, typical=1, maximum=8)},
    reuse=Reuse.TOKEN,
    in_place={"present": "past"},
)


class Count:
    """present = past + step, written over past."""

    spec = SPEC

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        past = inputs["past"].to_host()
        past += inputs["step"].to_host()
        return {"present": inputs["past"]}
