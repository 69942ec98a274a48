"""Profiles follow from the contract."""

import pytest

from hyperseg_export.engine.profiles import Profile, make_profiles
from hyperseg_export.families.hyperseg.layout import Sizes
from hyperseg_export.families.hyperseg.plan import plan
from hyperseg_export.families.hyperseg.tiny import random_checkpoint
from hyperseg_export.model import plan_model
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.errors import InputError


@pytest.fixture(scope="module")
def specs() -> dict[str, GraphSpec]:
    """Contracts of the published model."""
    source = random_checkpoint(Sizes(), seed=0)
    model = plan_model("hyperseg", plan(Sizes().config(), source.shapes), source, {"seg": 1, "eos": 0})
    return {spec.name: spec for spec in model.specs}


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
    (profile,) = make_profiles(specs["mask_decoder"], preset)
    assert (axis(profile, "batch"), axis(profile, "memory_rows")) == (batch, memory_rows)


def test_a_graph_with_caches_has_a_profile_per_kind_of_call(specs: dict[str, GraphSpec]) -> None:
    profiles = make_profiles(specs["llm"], "latency")
    assert [(profile.name, axis(profile, "tokens")) for profile in profiles] == [
        ("prefill", (1, 1040, 1280)),
        ("suffix", (1, 192, 256)),
        ("decode", (1, 1, 1)),
    ]


def test_shapes_replace_named_axes(specs: dict[str, GraphSpec]) -> None:
    (profile,) = make_profiles(specs["image_encoder"], "throughput")
    images = specs["image_encoder"].inputs[0]
    assert profile.shapes(images) == ((1, 3, 1024, 1024), (8, 3, 1024, 1024), (8, 3, 1024, 1024))


def test_an_unknown_preset_is_refused(specs: dict[str, GraphSpec]) -> None:
    with pytest.raises(InputError, match="choose latency, throughput, video"):
        make_profiles(specs["llm"], "fast")
