"""The checker of streams on evidence made by hand: whole, and with one thing wrong in every way that there is."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from tests.chaos.stream.checker import DELTA, Entry, Evidence, Row, judge
from tests.chaos.stream.records import PIECES, Asked, Blow, Call, Heard, piece, pieces

Change = Callable[[Evidence], None]
SAID = 3
"""So many pieces of the first attempt, whose worker was killed then."""


def row(n: int, at: float, kind: str, attempt: int | None = None, text: str | None = None) -> Row:
    turn = None if n == 1 else "turn"
    return Row(conversation="talk", n=n, at=at, type=f"practice.{kind}", turn=turn, attempt=attempt, text=text)


def whole() -> Evidence:
    """One turn, whose worker was killed at 2.0; another went on at 7.5. Two read along, and one of them was cut off."""
    log = [
        row(1, 0.5, "conversation_started"),
        row(2, 1.0, "turn_accepted", text="t1: hello"),
        row(3, 1.1, "attempt_started", 1),
        *(row(4 + number, 1.5, "delta", 1, piece("t1", 1, number)) for number in range(SAID)),
        row(4 + SAID, 7.2, "attempt_restarted", 2),
        *(row(5 + SAID + number, 7.5, "delta", 2, piece("t1", 2, number)) for number in range(PIECES)),
        row(5 + SAID + PIECES, 9.0, "turn_completed", 2, "".join(pieces("t1", 2))),
    ]
    heard = [
        Heard(
            at=one.at,
            reader=reader,
            conversation="talk",
            connection=int(reader == "ws" and one.n > 5),
            id=f"1.{one.n}",
            type=one.type,
            turn=one.turn,
            attempt=one.attempt,
            text=one.text,
        )
        for reader in ("sse", "ws")
        for one in log
    ]
    calls = [Call(at=1.2, number=1, name="t1", nth=1), Call(at=7.3, number=2, name="t1", nth=2)]
    ends = [{"at": 2.0, "ended": True, "sent": SAID + 1}, {"at": 9.0, "ended": True, "sent": PIECES, "whole": True}]
    return Evidence(
        asked=[Asked(at=1.0, name="t1", turn="turn", conversation="talk")],
        heard=heard,
        calls=[*calls, *(msgspec.structs.replace(call, **end) for call, end in zip(calls, ends, strict=True))],
        blows=[Blow(at=2.0, kind="kill_worker", hit=("t1",))],
        log=log,
        ledger=[
            Entry(turn="turn", attempt=1, outcome="orphaned", tokens_in=6500),
            Entry(turn="turn", attempt=2, outcome="answered", tokens_in=2),
        ],
        last={"talk": log[-1].n},
    )


def without(name: str, index: int) -> Change:
    return lambda evidence: getattr(evidence, name).pop(index)


def altered(name: str, index: int, /, **changed: Any) -> Change:
    def change(evidence: Evidence) -> None:
        things = getattr(evidence, name)
        things[index] = msgspec.structs.replace(things[index], **changed)

    return change


def again(name: str, index: int, /, **changed: Any) -> Change:
    def change(evidence: Evidence) -> None:
        things = getattr(evidence, name)
        things.append(msgspec.structs.replace(things[index], **changed))

    return change


def moved(name: str, index: int, to: int) -> Change:
    def change(evidence: Evidence) -> None:
        things = getattr(evidence, name)
        things.insert(to, things.pop(index))

    return change


def nothing_said_first(evidence: Evidence) -> None:
    """The first worker was killed before the first piece was written."""
    evidence.log = [
        msgspec.structs.replace(one, n=one.n - SAID * (one.n > 3)) for one in evidence.log if one.type != DELTA or one.attempt == 2
    ]
    numbered = {(one.type, one.attempt, one.text): one.n for one in evidence.log}
    evidence.heard = [
        msgspec.structs.replace(one, id=f"1.{numbered[one.type, one.attempt, one.text]}")
        for one in evidence.heard
        if one.type != DELTA or one.attempt == 2
    ]
    evidence.last = {"talk": evidence.log[-1].n}


def late(evidence: Evidence) -> None:
    """A piece of the first attempt is written when the second has begun: it is the last but one in the log, which has no gap."""
    stale = msgspec.structs.replace(evidence.log[3], n=5 + SAID + PIECES, text=piece("t1", 1, SAID))
    evidence.log[-1] = msgspec.structs.replace(evidence.log[-1], n=stale.n + 1)
    evidence.log.insert(-1, stale)


OF_SSE = 0
LAST = -1
FIRST_PIECE, RESTARTED = 3, 3 + SAID
CASES: dict[str, dict[str, Sequence[Change]]] = {
    "lost": {
        "a row that a reader never had": [without("heard", FIRST_PIECE)],
        "the last row, for a reader": [without("heard", LAST)],
        "a row of the log": [without("log", RESTARTED)],
        "a piece of an answer": [without("log", -3)],
        "the place of a reader": [again("heard", OF_SSE, id=None, type="stream.reset")],
        "a conversation that nobody heard of": [lambda evidence: evidence.heard.clear()],
    },
    "duplicated": {
        "a row for a reader": [again("heard", LAST)],
        "a row after a resume": [again("heard", LAST, connection=5)],
        "a number of the log": [again("log", LAST)],
        "a piece of an answer": [altered("log", -3, text=piece("t1", 2, PIECES - 3))],
    },
    "reordered": {
        "rows for a reader": [moved("heard", FIRST_PIECE, FIRST_PIECE + 1)],
        "pieces of an answer": [
            altered("log", FIRST_PIECE, text=piece("t1", 1, 1)),
            altered("log", FIRST_PIECE + 1, text=piece("t1", 1, 0)),
        ],
    },
    "changed": {
        "a piece, for a reader": [altered("heard", FIRST_PIECE, text="something else ")],
        "the attempt of a piece, for a reader": [altered("heard", FIRST_PIECE, attempt=2)],
        "what was shown and not written": [again("heard", LAST, id="1.99", type=DELTA, text=piece("t1", 2, 0))],
        "an attempt that begins unsaid": [altered("log", RESTARTED, type="practice.support_allowed")],
        "text of an attempt that is over": [late],
        "the whole answer": [altered("log", LAST, text="something else")],
        "an answer with words of two calls": [altered("log", -2, text=piece("t1", 1, PIECES - 1))],
        "an answer with words of another turn": [altered("asked", 0, name="t2")],
    },
    "ledger_mismatch": {
        "a call without a row": [without("ledger", 0)],
        "another call": [again("calls", 1, number=3, nth=3)],
        "an attempt without a row": [altered("ledger", 0, attempt=9)],
        "a row that is still open": [altered("ledger", 0, outcome="running")],
        "a row without a call that is not orphaned": [again("ledger", 0, attempt=3, outcome="failed")],
        "a row that was settled as another call": [altered("ledger", 1, tokens_in=1)],
        "two attempts with one call": [*[altered("log", 3 + number, text=piece("t1", 2, number)) for number in range(SAID)]],
    },
    "uncompleted": {
        "a turn": [altered("log", LAST, type="practice.turn_failed")],
        "a turn that was completed twice": [again("log", LAST, n=99)],
        "a turn that nobody was told of": [without("asked", 0)],
    },
}


def findings(evidence: Evidence) -> dict[str, list[Any]]:
    return {name: found for name, found in vars(judge(evidence)).items() if found and name != "takeovers"}


def test_whole_evidence_has_no_findings() -> None:
    assert findings(whole()) == {}


@pytest.mark.parametrize(
    ("name", "changes"),
    [pytest.param(name, changes, id=f"{name}: {what}") for name, cases in CASES.items() for what, changes in cases.items()],
)
def test_every_kind_of_fault_is_found(name: str, changes: Sequence[Change]) -> None:
    evidence = whole()
    for change in changes:
        change(evidence)
    assert name in findings(evidence)


def test_an_attempt_that_said_nothing_may_have_had_a_call_or_none() -> None:
    evidence = whole()
    nothing_said_first(evidence)
    assert findings(evidence) == {}
    evidence.calls = [msgspec.structs.replace(call, number=2) for call in evidence.calls if call.nth == 2]
    assert findings(evidence) == {}


def asked_by_the_coach(evidence: Evidence, outcome: str) -> None:
    """A third call for the turn, and the coach's row of it."""
    call = Call(at=9.2, number=3, name="t1", nth=3)
    evidence.calls += [call, msgspec.structs.replace(call, at=9.5, ended=True)]
    evidence.ledger.append(Entry(turn="turn", purpose="coach", attempt=1, outcome=outcome, tokens_in=0))


def test_the_coachs_calls_have_rows_of_their_own_too() -> None:
    evidence = whole()
    asked_by_the_coach(evidence, "failed")
    assert findings(evidence) == {}
    evidence.ledger.append(msgspec.structs.replace(evidence.ledger[-1], attempt=2))
    assert "ledger_mismatch" in findings(evidence)
    del evidence.ledger[-2:]
    assert "ledger_mismatch" in findings(evidence)


def test_a_call_of_the_coach_whose_worker_was_killed_at_the_end_may_still_be_open() -> None:
    evidence = whole()
    asked_by_the_coach(evidence, "running")
    assert findings(evidence) == {}


def test_another_worker_goes_on_from_the_kill_until_its_first_piece() -> None:
    evidence = whole()
    assert judge(evidence).takeovers == [5.5]
    evidence.blows = [Blow(at=2.0, kind="kill_web", hit=("t1",)), Blow(at=1.0, kind="kill_worker", hit=("t1",))]
    assert judge(evidence).takeovers == []
