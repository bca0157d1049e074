"""The checker on evidence made by hand: whole, and with one thing wrong in every way that there is."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from tests.chaos.checker import Answer, Attempt, Effect, Entry, Evidence, Stored, judge, recoveries

Change = Callable[[Evidence], None]


def whole() -> Evidence:
    """A lane asked for one thing, then another with a command that followed, then a third that was rolled back; all of key `k`."""
    events = [
        Stored("said-1", "probe.said", "k", "first", 1),
        Stored("said-2", "probe.said", "k", "second", 2),
        Stored("finished-2", "probe.finished", "k", "second", 3),
    ]
    entries = [Entry(event.position or 0, event.event, event.type, event.key, event.request) for event in events]
    own = [("asked", "first"), ("asked", "second"), ("finished", "second")]
    reacted = [(what, event) for event in events for what in ("kept", "followed")]
    effects = [Effect(n, what, request, "k", 10.0 + n) for n, (what, request) in enumerate(own, 1)]
    effects += [
        Effect(n, what, event.request, "k", 10.0 + n, event.event, event.position)
        for n, (what, event) in enumerate(reacted, len(effects) + 1)
    ]
    return Evidence(
        attempts=[
            Attempt(1.0, "first", "say", "k", 0, 0),
            Attempt(2.0, "first", "say", "k", 0, 0),
            Attempt(3.0, "second", "ask", "k", 0, 1),
            Attempt(4.0, "third", "doom", "k", 0, 2),
        ],
        answers=[
            Answer(1.5, "first", 503, None),
            Answer(2.5, "first", 201, 1),
            Answer(3.5, "second", 201, 2),
            Answer(4.5, "third", 409, None),
        ],
        events=events,
        effects=effects,
        seen=list(entries),
        streamed=list(entries),
    )


def without(name: str, **having: object) -> Change:
    def change(evidence: Evidence) -> None:
        things = getattr(evidence, name)
        left = [thing for thing in things if any(getattr(thing, field) != value for field, value in having.items())]
        assert len(left) == len(things) - 1
        setattr(evidence, name, left)

    return change


def with_one_more(name: str, thing: object) -> Change:
    return lambda evidence: getattr(evidence, name).append(thing)


def again(name: str, index: int, **changed: object) -> Change:
    return lambda evidence: getattr(evidence, name).append(replace(getattr(evidence, name)[index], **changed))


def turned(name: str, first: int, second: int, field: str) -> Change:
    """Two things exchange what they have in a field."""

    def change(evidence: Evidence) -> None:
        things = getattr(evidence, name)
        one, other = getattr(things[first], field), getattr(things[second], field)
        things[first], things[second] = replace(things[first], **{field: other}), replace(things[second], **{field: one})

    return change


def altered(name: str, index: int, **changed: object) -> Change:
    def change(evidence: Evidence) -> None:
        things = getattr(evidence, name)
        things[index] = replace(things[index], **changed)

    return change


LOST: dict[str, Sequence[Change]] = {
    "an effect of an acknowledged command": [without("effects", what="asked", request="first")],
    "an acknowledged command with all that it did": [
        *[without("effects", n=n) for n in (1, 4, 5)],
        *[without(name, event="said-1") for name in ("events", "seen", "streamed")],
    ],
    "an effect of a command that was never acknowledged": [
        without("answers", request="second"),
        without("effects", what="asked", request="second"),
    ],
    "the event of an effect": [
        without("answers", request="second"),
        *[without("effects", n=n) for n in (8, 9)],
        *[without(name, event="finished-2") for name in ("events", "seen", "streamed")],
    ],
    "the command that followed": [
        *[without("effects", n=n) for n in (3, 8, 9)],
        *[without(name, event="finished-2") for name in ("events", "seen", "streamed")],
    ],
    "the position of an event": [altered("events", 0, position=None)],
    "an effect of the unordered reaction": [without("effects", what="kept", event="said-1")],
    "an effect of the ordered reaction": [without("effects", what="followed", event="said-1")],
    "an entry of the consumer": [without("seen", event="said-1")],
    "an effect of an event whose command was never acknowledged": [
        without("answers", request="second"),
        without("effects", what="kept", event="finished-2"),
    ],
}
PHANTOM: dict[str, Sequence[Change]] = {
    "an event of nobody": [with_one_more("events", Stored("ghost", "probe.said", "k", "nobody", 4))],
    "an event of what was rolled back": [with_one_more("events", Stored("ghost", "probe.said", "k", "third", 4))],
    "an event that its request does not have": [with_one_more("events", Stored("ghost", "probe.finished", "k", "first", 4))],
    "an effect of nobody": [with_one_more("effects", Effect(20, "asked", "nobody", "k", 20.0))],
    "an effect of what was rolled back": [with_one_more("effects", Effect(20, "asked", "third", "k", 20.0))],
    "a command that followed nothing": [with_one_more("effects", Effect(20, "finished", "third", "k", 20.0))],
    "an effect of an event that is not stored": [with_one_more("effects", Effect(20, "kept", "third", "k", 20.0, "ghost", 4))],
    "an effect at another position": [altered("effects", 3, position=9)],
    "an entry of the consumer that is not stored": [with_one_more("seen", Entry(4, "ghost", "probe.said", "k", "third"))],
    "an entry of the stream that is not stored": [with_one_more("streamed", Entry(4, "ghost", "probe.said", "k", "third"))],
    "an entry at another position": [altered("streamed", 0, position=9)],
    "an entry of another type": [altered("seen", 0, type="probe.finished")],
    "an answer with the row of another": [altered("answers", 1, row=2)],
    "an answer with no row": [altered("answers", 1, row=None)],
}
DUPLICATED: dict[str, Sequence[Change]] = {
    "an effect of a command": [again("effects", 0, n=20)],
    "an effect of a command that followed": [again("effects", 2, n=20)],
    "an effect of the unordered reaction": [again("effects", 3, n=20)],
    "an effect of the ordered reaction": [again("effects", 8, n=20)],
    "an event in the feed": [again("events", 2, position=3)],
    "an event of one key": [again("events", 2, event="again", position=4)],
    "an answer": [again("answers", 1, row=2)],
}
OUT_OF_ORDER: dict[str, Sequence[Change]] = {
    "the effects of the ordered reaction": [turned("effects", 4, 6, "n")],
    "the entries of the consumer": [lambda evidence: evidence.seen.reverse()],
    "the positions of a lane": [turned("attempts", 1, 2, "number"), altered("attempts", 0, number=1)],
}


def findings(evidence: Evidence) -> dict[str, list[str]]:
    verdict = judge(evidence)
    return {name: found for name, found in vars(verdict).items() if found}


def test_whole_evidence_has_no_findings() -> None:
    assert findings(whole()) == {}


CASES = [
    pytest.param(name, changes, id=f"{name}: {what}")
    for name, cases in (("lost", LOST), ("phantom", PHANTOM), ("duplicated", DUPLICATED), ("out_of_order", OUT_OF_ORDER))
    for what, changes in cases.items()
]


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_every_kind_of_fault_is_found(name: str, changes: Sequence[Change]) -> None:
    evidence = whole()
    for change in changes:
        change(evidence)
    assert name in findings(evidence)


def test_what_was_never_answered_may_have_happened_or_not() -> None:
    evidence = whole()
    evidence.attempts.append(Attempt(5.0, "fourth", "say", "k", 0, 3))
    assert findings(evidence) == {}
    evidence.answers = []
    assert findings(evidence) == {}


def test_effects_of_different_keys_and_of_the_unordered_reaction_need_no_order() -> None:
    evidence = whole()
    turned("effects", 3, 5, "n")(evidence)
    assert findings(evidence) == {}


def test_recovery_is_the_time_to_the_first_effect_of_a_reaction_to_a_later_request() -> None:
    evidence = whole()
    # The reactions to the first request began to have effects at 14, those to the second at 16.
    assert recoveries(evidence, [0.0, 2.5, 99.0]) == [14.0, 13.5]
    evidence.effects.reverse()
    assert recoveries(evidence, [1.5]) == [14.5]
