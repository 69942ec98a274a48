"""Scenarios: what each family does of them, and why not the rest."""

import pytest

from hyperseg_bench.latency.class_names import STUFF, THINGS
from hyperseg_bench.latency.scenarios import SCENARIOS, chosen, expression
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import VIDEO


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_family_does_what_it_declares(family) -> None:
    done = {name for name, scenario in SCENARIOS.items() if not scenario.lacking(family)}
    assert {"first", "next", "batch"} <= done
    assert ("chat" in done) == any(task.request.kind == "questions" for task in family.tasks)
    assert ("frame" in done) == bool(family.video_tasks)
    for name in SCENARIOS.keys() - done:
        assert SCENARIOS[name].lacking(family) == family.lacks[SCENARIOS[name].kind]
    assert SCENARIOS["frame"].kind == VIDEO


def test_no_two_neighbours_are_asked_the_same() -> None:
    texts = [expression(number) for number in range(110)]
    assert len(set(texts)) == 110 and expression(110) == texts[0]


def test_the_classes_are_cocos() -> None:
    assert (len(THINGS), len(STUFF), len({*THINGS, *STUFF})) == (80, 53, 133)


def test_unknown_scenarios_are_refused_with_those_there_are() -> None:
    assert [scenario.name for scenario in chosen([])] == list(SCENARIOS)
    with pytest.raises(InputError, match="unknown scenario 'second'; choose first, next"):
        chosen(["second"])
