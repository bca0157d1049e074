"""Every scenario of the seeds is whole, and played by its script: a good, a terse and an off-topic learner get three dialogues."""

from itertools import combinations
from pathlib import Path

import msgspec
import pytest

from domain.practice.scenario import LEAST_PARTNER_TURNS, Scenario, problems_of
from domain.practice.scripts import play

FOLDER = Path(__file__).parents[2] / "db" / "seeds" / "scenarios"
FILES = sorted(FOLDER.glob("*/*.json"))
OFF_TOPIC = "My green bicycle sings quietly beside the purple elephant"


def scenario_of(path: Path) -> Scenario:
    return msgspec.json.decode(path.read_bytes(), type=Scenario)


def dialogue(scenario: Scenario, said: list[str]) -> list[str]:
    return [scenario.opening, *(play(scenario, said[: number + 1], seed=7).text for number in range(len(said)))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_three_learners_get_three_dialogues_without_a_line_said_twice(path: Path) -> None:
    scenario = scenario_of(path)
    assert list(problems_of(scenario)) == []
    assert (scenario.industry, scenario.situation, scenario.slug) == (path.parent.name, path.stem, f"{path.parent.name}_{path.stem}")
    script = scenario.script
    assert script is not None
    good = [*(beat.example for beat in script.beats), script.closing.example]
    learners = [good, ["Okay."] * len(good), [OFF_TOPIC] * len(good)]
    dialogues = [dialogue(scenario, said) for said in learners]
    for lines in dialogues:
        assert len(lines) >= LEAST_PARTNER_TURNS
        assert len(set(lines)) == len(lines)
    for one, other in combinations(dialogues, 2):
        assert not set(one[1:-1]) & set(other[1:-1])
    assert dialogues[0][-1] == script.closing.reached
    assert play(scenario, good, seed=7).last
    for number, branch in enumerate(script.branches):
        assert any(
            play(scenario, [*good[:place], f"{beat.example} {branch.when[0]}"], seed=seed).text == f"{branch.say} {beat.say}"
            for place, beat in enumerate(script.beats)
            for seed in range(12)
        ), f"branch {number} is never said"
