"""What a first machine is asked about the inspector and about exchanging weights; the double answers as it is told."""

import gpu_checks
import pytest


@pytest.mark.usefixtures("tensorrt_double")
def test_the_inspector_is_asked_with_and_without_a_context() -> None:
    answer = gpu_checks.inspector_report(None)["answer"]
    assert answer["report"]["Layers"] and len(answer["types with one, by profile"]) == 2
    assert answer["fused attention, by profile"] == [1, 1]


@pytest.mark.usefixtures("tensorrt_double")
def test_weights_are_exchanged_beside_bodies_of_functions() -> None:
    assert gpu_checks.exchanged_weights(None)["answer"] == {"exchanged": ["w"]}
