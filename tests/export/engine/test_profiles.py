"""Profiles follow from the contract."""

import pytest

from hyperseg_export.engine.profiles import Profile, make_profiles, require_known
from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import ProfileHints

FAMILY = FAMILIES["hyperseg"]


@pytest.fixture(scope="module")
def specs() -> dict[str, GraphSpec]:
    """Contracts of the published model."""
    return {spec.name: spec for spec in FAMILY.graph_specs(FAMILY.published)}


def profiles(spec: GraphSpec, preset: str) -> tuple[Profile, ...]:
    return make_profiles(spec, preset, FAMILY.profile_hints(spec))


def axis(profile: Profile, name: str) -> tuple[int, int, int]:
    limits = profile.axes[name]
    return limits.minimum, limits.typical, limits.maximum


@pytest.mark.parametrize(
    ("preset", "batch", "memory_rows"),
    [("latency", (1, 1, 1), (1, 1, 128)), ("throughput", (1, 8, 8), (1, 1, 128)), ("video", (1, 1, 1), (1, 128, 128))],
)
def test_a_preset_sets_batch_and_memory(
    specs: dict[str, GraphSpec], preset: str, batch: tuple[int, int, int], memory_rows: tuple[int, int, int]
) -> None:
    (profile,) = profiles(specs["mask_decoder"], preset)
    assert (axis(profile, "batch"), axis(profile, "memory_rows")) == (batch, memory_rows)


def test_a_graph_with_caches_has_a_profile_per_kind_of_call(specs: dict[str, GraphSpec]) -> None:
    found = profiles(specs["llm"], "latency")
    assert [(profile.name, axis(profile, "tokens")) for profile in found] == [
        ("prefill", (1, 1040, 1280)),
        ("suffix", (1, 192, 256)),
        ("decode", (1, 1, 1)),
    ]


def test_shapes_replace_named_axes(specs: dict[str, GraphSpec]) -> None:
    (profile,) = profiles(specs["image_encoder"], "throughput")
    images = specs["image_encoder"].inputs[0]
    assert profile.shapes(images) == ((1, 3, 1024, 1024), (8, 3, 1024, 1024), (8, 3, 1024, 1024))


def test_a_preset_that_nobody_knows_is_refused(specs: dict[str, GraphSpec]) -> None:
    hints = [FAMILY.profile_hints(spec) for spec in specs.values()]
    require_known("video", hints)
    with pytest.raises(InputError, match="unknown profile preset 'fast'; choose latency, throughput, video"):
        require_known("fast", hints)
    with pytest.raises(InputError, match=r"choose latency, throughput$"):
        require_known("video", [])


SIDE = AxisRange(minimum=1, typical=16, maximum=64)
PLAIN = GraphSpec(
    name="g",
    inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, axes=("batch", "height", "ceil(height / 8)")),),
    outputs=(),
    axis_ranges={"batch": AxisRange(minimum=1, typical=2, maximum=4), "height": SIDE},
    reuse=Reuse.IMAGE,
)


def test_without_hints_a_graph_has_one_profile_of_every_preset() -> None:
    (profile,) = make_profiles(PLAIN, "latency")
    assert (profile.name, axis(profile, "batch"), axis(profile, "height")) == ("latency", (1, 1, 1), (1, 16, 64))
    (elsewhere,) = make_profiles(PLAIN, "video")  # a use that another graph of the family knows
    assert elsewhere.axes == profile.axes


def test_derived_axes_follow_in_every_shape_of_a_profile() -> None:
    (profile,) = make_profiles(PLAIN, "throughput")
    assert profile.shapes(PLAIN.inputs[0]) == ((1, 1, 1), (4, 16, 2), (4, 64, 8))


def test_a_familys_presets_and_splits_change_the_axes_they_name() -> None:
    large = AxisRange(minimum=32, typical=64, maximum=64)
    hints = ProfileHints(split={"any": {}, "large": {"height": large}}, presets={"survey": {"batch": SIDE}})
    found = make_profiles(PLAIN, "survey", hints)
    assert [(profile.name, profile.axes["height"], profile.axes["batch"]) for profile in found] == [
        ("any", SIDE, SIDE),
        ("large", large, SIDE),
    ]
