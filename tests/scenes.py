"""A scene of the seeds, for tests of those who answer in it."""

from pathlib import Path

import msgspec

from domain.practice.prompt import Exchange, Scene
from domain.practice.scenario import Scenario

_FILE = Path(__file__).parents[1] / "db" / "seeds" / "scenarios" / "real_estate" / "conflict_resolution.json"

SCENARIO = msgspec.json.decode(_FILE.read_bytes(), type=Scenario)
UNSCRIPTED = msgspec.structs.replace(SCENARIO, script=None)


def scene(*said: str, scenario: Scenario = SCENARIO, seed: int = 7, last: bool = False, most: int = 200) -> Scene:
    """The learner has said this, and waits for the answer to the last of it."""
    exchanges = (*(Exchange(said=one, answer=f"Answer {number}.") for number, one in enumerate(said[:-1])), Exchange(said=said[-1]))
    return Scene(scenario=scenario, level="B1", seed=seed, exchanges=exchanges, last=last, most=most)
