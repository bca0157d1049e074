"""Playing a scenario by its script: the same line for the same words under the same seed."""

import hashlib
from collections.abc import Sequence
from typing import Literal

import msgspec

from domain.practice.scenario import LEAST_WORDS, Beat, Branch, Scenario, normal, says

Way = Literal["on_track", "branch", "short", "astray", "closing"]


class Played(msgspec.Struct, frozen=True):
    """What the partner says, and why. `last` says that the scene ends with it."""

    text: str
    way: Way
    last: bool = False


def met_criteria(scenario: Scenario, said: Sequence[str]) -> tuple[str, ...]:
    """Ids of the success criteria that the learner has met with everything said so far."""
    return tuple(criterion.id for criterion in scenario.success_criteria if any(says(text, criterion.any) for text in said))


def play(scenario: Scenario, said: Sequence[str], *, seed: int) -> Played:
    """The partner's answer to the last of what the learner has said, from the first turn on. Raises `ValueError` without a script.

    Nothing is remembered: what was said decides which branches have been taken, so a conversation that was rolled back goes on as if
    what is undone had never been said.
    """
    script = scenario.script
    if script is None or not said:
        raise ValueError("There is nothing to play: no script, or nothing was said.")
    taken: set[int] = set()
    played: Played | None = None
    for number, text in enumerate(said[: len(script.beats)]):
        played = _answer(script.beats[number], script.branches, text, taken, seed)
    if played is not None and len(said) <= len(script.beats):
        return played
    met = len(met_criteria(scenario, said))
    closing = script.closing
    line = closing.reached if met == len(scenario.success_criteria) else closing.partly if met else closing.missed
    return Played(line, "closing", last=True)


def _answer(beat: Beat, branches: Sequence[Branch], text: str, taken: set[int], seed: int) -> Played:
    if len(normal(text).split()) < LEAST_WORDS:
        return Played(beat.short, "short")
    if not says(text, beat.expects):
        return Played(beat.astray, "astray")
    found = [number for number, branch in enumerate(branches) if number not in taken and says(text, branch.when)]
    if not found:
        return Played(beat.say, "on_track")
    chosen = found[_drawn(seed, text) % len(found)]
    taken.add(chosen)
    return Played(f"{branches[chosen].say} {beat.say}", "branch")


def _drawn(seed: int, text: str) -> int:
    """Evenly spread, and the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed} {normal(text)}".encode()).digest()[:8])
