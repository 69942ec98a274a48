"""Which of an engine's profiles a call belongs to."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hyperseg_runtime.errors import InputError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ProfileShapes:
    """Smallest and largest shape of every input in one profile."""

    index: int
    smallest: Mapping[str, Shape]
    largest: Mapping[str, Shape]

    def holds(self, shapes: Mapping[str, Shape]) -> bool:
        return not self.misfits(shapes)

    def misfits(self, shapes: Mapping[str, Shape]) -> list[str]:
        """Inputs whose shape lies outside."""
        return [
            f"{name} {shape} is outside {self.smallest[name]} to {self.largest[name]}"
            for name, shape in shapes.items()
            if not all(a <= b <= c for a, b, c in zip(self.smallest[name], shape, self.largest[name], strict=True))
        ]

    @property
    def room(self) -> int:
        """Elements of all inputs at their largest: less room, kernels chosen for smaller sizes."""
        return sum(math.prod(shape) for shape in self.largest.values())


def read_profiles(engine: Any, inputs: list[str]) -> list[ProfileShapes]:
    """Profiles of an engine, those for the smallest calls first."""
    found = []
    for index in range(engine.num_optimization_profiles):
        limits = {name: engine.get_tensor_profile_shape(name, index) for name in inputs}
        smallest = {name: tuple(low) for name, (low, _, _) in limits.items()}
        found.append(ProfileShapes(index, smallest, {name: tuple(high) for name, (_, _, high) in limits.items()}))
    return sorted(found, key=lambda profile: profile.room)


def choose_profile(profiles: list[ProfileShapes], shapes: Mapping[str, Shape], graph: str) -> ProfileShapes:
    """The narrowest profile that holds `shapes`. Raises InputError if none does."""
    fitting = next((profile for profile in profiles if profile.holds(shapes)), None)
    if fitting is None:
        misfits = "\n  ".join(profiles[-1].misfits(shapes))
        raise InputError(
            f"the engine of graph {graph} was not built for this call:\n  {misfits}\n"
            "build it with a wider preset, such as --profile throughput for several images at once"
        )
    return fitting
