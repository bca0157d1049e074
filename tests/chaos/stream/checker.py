"""Compares what every reader heard with the log in PostgreSQL, the log with what the provider said, and its calls with the ledger."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import asyncpg
import msgspec

from app.sealing import PersonVault, Sealer
from bus.message import Personal
from handlers.ports import PersonKey
from tests.chaos.stream.records import Asked, Blow, Call, End, Heard, pieces, read

DELTA = "practice.delta"
ACCEPTED, COMPLETED = "practice.turn_accepted", "practice.turn_completed"
BEGINS = ("practice.attempt_started", "practice.attempt_restarted")
WORKERS = ("kill_worker", "kill_all", "pause_worker")
# The time of a piece is taken just before it is written, that of a kill just before it: either may seem to be the first.
ABOUT = 0.1
LOG = """
SELECT l.conversation, l.n, extract(epoch FROM l.at)::float8 AS at, l.name, l.turn, l.attempt, l.data, k.wrapped
FROM conversation_log l JOIN conversations c ON c.id = l.conversation JOIN personal_keys k ON k.account = c.account
ORDER BY l.conversation, l.n, l.at
"""
LEDGER = "SELECT turn, purpose, attempt, outcome, tokens_in FROM model_calls ORDER BY turn, purpose DESC, attempt"
HEADS = "SELECT id, n, phase FROM conversations"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Of the log; `text` is that of a piece, or of a whole answer."""

    conversation: str
    n: int
    at: float
    type: str
    turn: str | None = None
    attempt: int | None = None
    text: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Of the ledger."""

    turn: str
    purpose: str = "partner"
    attempt: int
    outcome: str
    tokens_in: int | None


@dataclass
class Evidence:
    """`last` is how far readers could read of each conversation."""

    asked: list[Asked]
    heard: list[Heard]
    calls: list[Call]
    blows: list[Blow]
    log: list[Row]
    ledger: list[Entry]
    last: Mapping[str, int]


@dataclass
class Verdict:
    """Findings, each in words; and the seconds of each time that another worker went on with a turn."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    ledger_mismatch: list[str] = field(default_factory=list)
    uncompleted: list[str] = field(default_factory=list)
    takeovers: list[float] = field(default_factory=list)


def judge(evidence: Evidence) -> Verdict:
    verdict = Verdict()
    answers = answers_of(evidence.log)
    _judge_log(evidence, verdict)
    _judge_readers(evidence, verdict)
    sources = _judge_answers(evidence, answers, verdict)
    verdict.ledger_mismatch += _ledger_mismatch(evidence, answers, sources)
    verdict.uncompleted += _uncompleted(evidence)
    verdict.takeovers += _takeovers(evidence)
    return verdict


def unhurt(evidence: Evidence) -> list[str]:
    """Turns without a blow that counts."""
    hurt = {name for blow in evidence.blows if blow.counts for name in blow.hit}
    return [asked.name for asked in evidence.asked if asked.name not in hurt]


def answers_of(log: Iterable[Row]) -> dict[tuple[str, int], str]:
    """What the log has of each attempt at each turn."""
    found: dict[tuple[str, int], str] = defaultdict(str)
    for row in log:
        if row.type == DELTA and row.turn is not None and row.attempt is not None:
            found[row.turn, row.attempt] += row.text or ""
    return found


def _judge_log(evidence: Evidence, verdict: Verdict) -> None:
    """Numbers have no gaps; text is only ever added to the attempt that was announced last, and the whole is the sum of it."""
    numbers: dict[str, list[int]] = defaultdict(list)
    attempts: dict[str, int | None] = {}
    texts: dict[str, str] = {}
    for row in evidence.log:
        numbers[row.conversation].append(row.n)
        if row.turn is None:
            continue
        where = f"{row.conversation} {row.n}: {row.type} of the attempt {row.attempt}"
        if row.type in BEGINS:
            attempts[row.turn], texts[row.turn] = row.attempt, ""
        elif row.type == DELTA:
            if attempts.get(row.turn) != row.attempt:
                verdict.changed.append(f"{where}, while the attempt is {attempts.get(row.turn)}")
            texts[row.turn] = texts.get(row.turn, "") + (row.text or "")
        elif row.type == COMPLETED:
            if attempts.get(row.turn) != row.attempt or texts.get(row.turn) != row.text:
                verdict.changed.append(f"{where} is not what was said of it")
            attempts[row.turn] = None
    for conversation, found in numbers.items():
        verdict.lost += [f"the log of {conversation} has no {n}" for n in sorted(set(range(1, found[-1] + 1)) - set(found))]
        verdict.duplicated += [f"the log of {conversation} has {times} times {n}" for n, times in Counter(found).items() if times > 1]


def _judge_readers(evidence: Evidence, verdict: Verdict) -> None:
    log = {(row.conversation, row.n): row for row in evidence.log}
    readers: dict[tuple[str, str], list[Heard]] = defaultdict(list)
    for heard in evidence.heard:
        readers[heard.conversation, heard.reader].append(heard)
    for (conversation, reader), all_heard in readers.items():
        who = f"{reader} of {conversation}"
        verdict.lost += [f"{who} was told to begin anew" for heard in all_heard if heard.type == "stream.reset"]
        numbered = [(int((heard.id or "").rpartition(".")[2]), heard) for heard in all_heard if heard.id is not None]
        numbers = [n for n, _ in numbered]
        missing = set(range(1, evidence.last.get(conversation, 0) + 1)) - set(numbers)
        verdict.lost += [f"{who} never had {n}" for n in sorted(missing)]
        verdict.duplicated += [f"{who} had {n} {times} times" for n, times in Counter(numbers).items() if times > 1]
        verdict.reordered += [f"{who} had {after} after {before}" for before, after in pairwise(numbers) if after < before]
        for n, heard in numbered:
            row = log.get((conversation, n))
            told = (heard.type, heard.turn, heard.attempt, heard.text)
            if row is None:
                verdict.changed.append(f"{who} had {n}, {told}, which the log has not")
            elif told != (row.type, row.turn, row.attempt, row.text):
                verdict.changed.append(f"{who} had {n} as {told}; in the log it is {(row.type, row.turn, row.attempt, row.text)}")
    for conversation in evidence.last:
        if not any(conversation == one for one, _ in readers):
            verdict.lost.append(f"nobody heard of {conversation}")


def _judge_answers(evidence: Evidence, answers: Mapping[tuple[str, int], str], verdict: Verdict) -> dict[tuple[str, int], int]:
    """Each attempt is the beginning of what one call said, each piece once and in order; answers with the call of each attempt."""
    names = {asked.turn: asked.name for asked in evidence.asked}
    completed = {(row.turn, row.attempt) for row in evidence.log if row.type == COMPLETED}
    sources: dict[tuple[str, int], int] = {}
    for (turn, attempt), text in answers.items():
        who = f"the attempt {attempt} at {names.get(turn, turn)}"
        words = text.split()
        prefixes = {word.rpartition("w")[0] for word in words}
        [prefix, *others] = sorted(prefixes)
        name, _, nth = prefix.rpartition("c")
        if others or name != names.get(turn) or not nth.isdigit():
            verdict.changed.append(f"{who} has words of {sorted(prefixes)}")
            continue
        sources[turn, attempt] = int(nth)
        said = [piece.strip() for piece in pieces(name, int(nth))]
        verdict.duplicated += [f"{who} has {times} times {word}" for word, times in Counter(words).items() if times > 1]
        verdict.reordered += [f"{who} has {after} after {before}" for before, after in pairwise(words) if after < before]
        wanted = said if (turn, attempt) in completed else said[: said.index(words[-1]) + 1] if words[-1] in said else said
        verdict.lost += [f"{who} has no {word}" for word in wanted if word not in words]
    return sources


def _ledger_mismatch(evidence: Evidence, answers: Mapping[tuple[str, int], str], sources: Mapping[tuple[str, int], int]) -> Iterator[str]:
    """Every call has a row of its own, every row at most one call, and a row without a call is orphaned."""
    turns = {asked.name: asked.turn for asked in evidence.asked}
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in evidence.calls:
        if not call.ended:
            calls[turns.get(call.name, call.name)].append(call)
    rows: dict[str, list[Entry]] = defaultdict(list)
    for entry in evidence.ledger:
        rows[entry.turn].append(entry)
        # A coach whose worker was killed in its call asks again when the lease of its command has passed; nobody waits so long here.
        if entry.purpose == "partner" and entry.outcome in ("reserved", "running"):
            yield f"the attempt {entry.attempt} at {entry.turn} is still {entry.outcome}"
    for turn, attempt in answers:
        if not any(entry.purpose == "partner" and entry.attempt == attempt for entry in rows[turn]):
            yield f"the attempt {attempt} at {turn} has no row"
    for turn in calls.keys() | rows.keys():
        yield from _mismatch_of(turn, calls[turn], rows[turn], sources)


def _mismatch_of(turn: str, calls: Sequence[Call], rows: Sequence[Entry], sources: Mapping[tuple[str, int], int]) -> Iterator[str]:
    """What an attempt said tells its call. Those that said nothing, and those of the coach, of whom nothing is shown, have the other calls:
    in any order, for a worker that was paused before its call makes it late.
    """
    by_nth = {call.nth: call for call in calls}
    silent: list[Entry] = []
    spoken: Counter[int] = Counter()
    for entry in rows:
        nth = sources.get((turn, entry.attempt)) if entry.purpose == "partner" else None
        if nth is None:
            silent.append(entry)
            continue
        spoken[nth] += 1
        if nth not in by_nth:
            yield f"the attempt {entry.attempt} at {turn} has the words of a call that never was"
        elif entry.outcome == "answered" and entry.tokens_in != by_nth[nth].number:
            yield f"the attempt {entry.attempt} at {turn} was settled as the call {entry.tokens_in}, and is the call {by_nth[nth].number}"
    yield from (f"{times} attempts at {turn} have the words of its call {nth}" for nth, times in spoken.items() if times > 1)
    others = len(by_nth.keys() - spoken.keys())
    if others > len(silent):
        yield f"{others} calls of {turn} have {len(silent)} rows"
    called = sum(entry.outcome not in ("orphaned", "running") for entry in silent)
    if called > others:
        yield f"{called} attempts at {turn} are said to have ended, and only {others} of them had a call"


def _uncompleted(evidence: Evidence) -> Iterator[str]:
    times = Counter(row.turn for row in evidence.log if row.type == COMPLETED)
    asked = {one.turn: one.name for one in evidence.asked}
    accepted = {row.turn for row in evidence.log if row.type == ACCEPTED and row.turn is not None}
    for turn in asked.keys() | accepted:
        if times[turn] != 1:
            yield f"{asked.get(turn, turn)} was completed {times[turn]} times"
        if turn not in asked:
            yield f"{turn} was accepted, and nobody was told"


def _takeovers(evidence: Evidence) -> Iterator[float]:
    """From the kill of the worker to the first piece of the next attempt, unless that one's worker was killed before it."""
    first: dict[tuple[str, int], float] = {}
    alive: dict[tuple[str, int], float] = {}
    for row in evidence.log:
        if row.turn is not None and row.attempt is not None and (row.type in BEGINS or row.type == DELTA):
            alive[row.turn, row.attempt] = row.at
            if row.type == DELTA:
                first.setdefault((row.turn, row.attempt), row.at)
    blows = sorted((blow.at, blow.kind) for blow in evidence.blows if blow.kind in WORKERS)
    for (turn, attempt), at in first.items():
        if (last := alive.get((turn, attempt - 1))) is not None:
            at_blow, kind = next((blow for blow in blows if blow[0] >= last - ABOUT), (at, ""))
            if kind.startswith("kill") and at_blow < at:
                yield at - at_blow


async def collect(folder: Path, database_url: str, secret_key: str) -> Evidence:
    """The calls before the ledger: the coach may still be asked, and has its row before it is."""
    calls = read(folder / "calls.jsonl", Call)
    connection = await cast("Any", asyncpg).connect(database_url)
    try:
        ledger = await connection.fetch(LEDGER)
        log = await connection.fetch(LOG)
    finally:
        await connection.close()
    vault = PersonVault(Sealer(secret_key))
    keys: dict[bytes, PersonKey] = {}
    rows = [_opened(row, keys.setdefault(row["wrapped"], vault.opened(row["wrapped"]))) for row in log]
    return Evidence(
        asked=read(folder / "asked.jsonl", Asked),
        heard=read(folder / "heard.jsonl", Heard),
        calls=calls,
        blows=read(folder / "blows.jsonl", Blow),
        log=rows,
        ledger=[msgspec.convert({**row, "turn": str(row["turn"])}, Entry) for row in ledger],
        last=msgspec.json.decode((folder / "end.json").read_bytes(), type=End).last,
    )


def _opened(row: Mapping[str, Any], key: PersonKey) -> Row:
    turn: UUID | None = row["turn"]
    return Row(
        conversation=str(row["conversation"]),
        n=row["n"],
        at=row["at"],
        type=row["name"],
        turn=None if turn is None else str(turn),
        attempt=row["attempt"],
        text=_text(row["name"], row["data"], key),
    )


def _text(name: str, data: bytes, key: PersonKey) -> str | None:
    """A piece is sealed as it is; an answer, and what the learner said, is a sealed field of its event."""
    if name == DELTA:
        return key.open(Personal(data))
    sealed = msgspec.json.decode(data, type=_Sealed).text
    return None if sealed is None else key.open(Personal(sealed))


class _Sealed(msgspec.Struct, frozen=True):
    text: bytes | None = None


async def heads(database_url: str) -> dict[str, int] | None:
    """The last number of each log; None while somebody is being answered."""
    connection = await cast("Any", asyncpg).connect(database_url)
    try:
        found = await connection.fetch(HEADS)
    finally:
        await connection.close()
    return {str(row["id"]): row["n"] for row in found} if all(row["phase"] == "idle" for row in found) else None
