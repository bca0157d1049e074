"""`fluentpro state verify`: whether everything that is kept of conversations is what their events say."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from bus.work import Dead
from db.practice.folding import state_of
from db.practice.log import DELTA, LogRow
from db.reads.conversations_admin import Budget, ConversationAdminReads, Evidence, Head, KeptCall, KeptEvent, KeptSnapshot
from domain.practice.errors import UnknownConversation
from domain.practice.events import AttemptRestarted, AttemptStarted, ConversationForked, TurnCompleted
from domain.practice.model import Conversation
from domain.practice.state import LostHistory, Recorded

OPEN = ("reserved", "running")
MOST_OF_A_GAP = 1000
CALLED = ("running", "answered", "stopped", "failed")
"""Outcomes of which there is an attempt. An orphaned call may have had none: it was reserved for one that never began."""
FORGOTTEN = timedelta(days=1)
"""So long after their last call, the budgets of learners and days may be gone."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong. `kind` is for programs; `conversation` is null for what belongs to none."""

    kind: str
    conversation: UUID | None
    message: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`notes` are worth knowing, and not wrong."""

    ok: bool
    conversations: int
    events: int
    log_rows: int
    snapshots: int
    calls: int
    findings: list[Finding]
    notes: list[str]


class Verification:
    """Each conversation as of one moment of its own, so that everything may run meanwhile. `kept`: how long rows of the log stay."""

    def __init__(self, reads: ConversationAdminReads, *, kept: timedelta, now: datetime) -> None:
        self._reads, self._now, self._since = reads, now, now - kept
        self._counts = Counter[str]()
        self._findings: list[Finding] = []
        self._notes: list[str] = []

    async def one(self, conversation: UUID) -> Report:
        """Raises `UnknownConversation`."""
        account = (await self._reads.entry(conversation)).account
        await self._check(conversation)
        await self._check_days(account)
        return self._report()

    async def everything(self) -> Report:
        after: UUID | None = None
        while page := await self._reads.identities(after):
            for conversation in page:
                await self._check(conversation)
            after = page[-1]
        await self._check_days(None)
        for found in await self._reads.headless():
            self._find("headless", None, f"There is something of a conversation that is not there: {found}.")
        return self._report()

    def _report(self) -> Report:
        count = self._counts
        return Report(
            ok=not self._findings,
            conversations=count["conversations"],
            events=count["events"],
            log_rows=count["log_rows"],
            snapshots=count["snapshots"],
            calls=count["calls"],
            findings=self._findings,
            notes=self._notes,
        )

    async def _check(self, identity: UUID) -> None:
        async with self._reads.evidence(identity) as evidence:
            head = await evidence.head()
            if head is None:  # Nothing deletes such a row; whoever did so meanwhile leaves the rest headless.
                return
            self._counts["conversations"] += 1
            events, log = await evidence.events(), await evidence.log()
            snapshots, calls = await evidence.snapshots(), await evidence.calls()
            self._counts.update(events=len(events), log_rows=len(log), snapshots=len(snapshots), calls=len(calls))
            self._check_numbers(identity, head, events)
            self._check_log(identity, head, events, log)
            conversation, recorded = await self._folded(identity, evidence, snapshots)
            if conversation is not None:
                self._check_head(identity, head, conversation)
                self._check_calls(identity, conversation, recorded, [call for call in calls if call.purpose == "partner"])
            self._check_ends(identity, calls)
            self._check_budget(identity, await evidence.budget(), bool(calls))

    # ------------------------------------------------------------------ events, head and snapshots

    def _check_numbers(self, identity: UUID, head: Head, events: Sequence[KeptEvent]) -> None:
        first = (head.parent_version or 0) + 1
        versions = [event.version for event in events]
        if missing := _missing(versions, first, head.version):
            self._find("event_missing", identity, f"It is at version {head.version}, but has no events {_listed(missing)}.")
        if beyond := [version for version in versions if not first <= version <= head.version]:
            self._find("event_beyond", identity, f"Its head is at version {head.version}, but it has events {_listed(beyond)} too.")

    async def _folded(
        self, identity: UUID, evidence: Evidence, snapshots: Sequence[KeptSnapshot]
    ) -> tuple[Conversation | None, list[Recorded]]:
        """From its first event, with no snapshot; each snapshot is compared with it on the way."""
        by_version = {snapshot.version: snapshot for snapshot in snapshots}
        conversation: Conversation | None = None
        recorded: list[Recorded] = []
        try:
            recorded = await evidence.history()
            for one in recorded:
                if conversation is None:
                    conversation = Conversation.folded([one])
                else:
                    conversation.apply(one)
                if conversation.state.id == identity and (snapshot := by_version.pop(conversation.version, None)) is not None:
                    self._check_snapshot(identity, conversation, snapshot)
        except Dead as error:
            self._find("event_unreadable", identity, f"An event of it cannot be read by this build: {error}.")
            return None, []
        except (UnknownConversation, LostHistory, LookupError) as error:
            self._find("not_foldable", identity, f"Its events do not follow from each other ({type(error).__name__}).")
            return None, []
        if by_version:
            self._find("snapshot_beyond", identity, f"It has snapshots of versions that it does not have: {_listed(by_version)}.")
        return conversation, recorded

    def _check_snapshot(self, identity: UUID, conversation: Conversation, snapshot: KeptSnapshot) -> None:
        version = snapshot.version
        if hashlib.sha256(snapshot.state).digest() != snapshot.checksum:
            self._find("snapshot_damaged", identity, f"The snapshot of version {version} does not fit its checksum; delete its row.")
            return
        try:
            state = state_of(snapshot.state)
        except msgspec.DecodeError:
            self._notes.append(f"{identity}: the snapshot of version {version} is of another build; it is made anew.")
            return
        if state != conversation.state:
            differing = [name for name in state.__struct_fields__ if getattr(state, name) != getattr(conversation.state, name)]
            text = f"The snapshot of version {version} is not what the events say: {', '.join(differing)} differ; delete its row."
            self._find("snapshot_wrong", identity, text)

    def _check_head(self, identity: UUID, head: Head, conversation: Conversation) -> None:
        state, content = conversation.state, conversation.content
        folded: dict[str, Any] = {
            "account": state.account,
            "scenario": state.scenario,
            "parent": state.parent,
            "parent_version": state.parent_version,
            "version": state.version,
            "phase": conversation.phase,
            "title": None if state.title is None else state.title.sealed,
            "turns": len(content.turns),
            "ended": content.ended is not None,
            "score": content.score,
            "archived": state.archived,
            "support": state.support,
            "deleted": state.deleted,
        }
        for name, value in folded.items():
            kept = head.deleted_at is not None if name == "deleted" else getattr(head, name)
            if kept != value:
                said = "another one" if name == "title" else f"{_word(value)}, not {_word(kept)}"
                self._find("head_wrong", identity, f"By its events its {name} is {said}.")

    # ------------------------------------------------------------------ the log

    def _check_log(self, identity: UUID, head: Head, events: Sequence[KeptEvent], log: Sequence[LogRow]) -> None:
        numbers = [row.n for row in log]
        if twice := sorted(n for n, count in Counter(numbers).items() if count > 1):
            self._find("log_repeated", identity, f"Rows {_listed(twice)} of its log are there more than once.")
        # Days that are over are gone from its beginning, and only from there.
        begun = head.created_at >= self._since
        first = 1 if begun or not numbers else min(numbers)
        last_told = max((event.at for event in events), default=head.created_at)
        if numbers or begun or last_told >= self._since:
            if missing := _missing(numbers, first, head.n):
                self._find("log_missing", identity, f"Its log ends with {head.n}, but lacks {_listed(missing)}.")
            if beyond := [n for n in numbers if n > head.n]:
                self._find("log_beyond", identity, f"Its log ends with {head.n}, but has {_listed(beyond)} too.")
        self._check_facts(identity, events, [row for row in log if row.name != DELTA])
        attempts = {(row.turn, row.attempt) for row in log if row.name in (AttemptStarted.wire.name, AttemptRestarted.wire.name)}
        if begun and (strange := [row.n for row in log if row.name == DELTA and (row.turn, row.attempt) not in attempts]):
            self._find("log_stray", identity, f"Rows {_listed(strange)} of its log are text of no attempt.")

    def _check_facts(self, identity: UUID, events: Sequence[KeptEvent], facts: Sequence[LogRow]) -> None:
        by_version = {event.version: event for event in events}
        told = Counter(row.version for row in facts)
        untold = [event.version for event in events if event.at >= self._since and not told[event.version]]
        if untold:
            self._find("fact_missing", identity, f"Readers were not told of the events {_listed(untold)}.")
        for row in facts:
            event = by_version.get(row.version or 0)
            if event is None:
                self._find("fact_stray", identity, f"Row {row.n} of its log tells of an event that is not there ({row.name}).")
            elif told[row.version] > 1:
                self._find("fact_repeated", identity, f"Row {row.n} of its log tells of event {row.version} once more.")
            elif not _tells(row, event):
                self._find("fact_wrong", identity, f"Row {row.n} of its log is not what event {row.version} says.")

    # ------------------------------------------------------------------ calls and budgets

    def _check_calls(self, identity: UUID, conversation: Conversation, recorded: Sequence[Recorded], calls: Sequence[KeptCall]) -> None:
        rows = {(call.turn, call.attempt): call for call in calls}
        own = [one.event for one in _own(recorded)]
        attempts = {(event.turn, event.attempt) for event in own if isinstance(event, AttemptStarted | AttemptRestarted)}
        for turn, attempt in sorted(attempts - set(rows)):
            self._find("call_missing", identity, f"Attempt {attempt} at turn {turn} has no row in the ledger of calls.")
        for place in sorted(set(rows) - attempts):
            if rows[place].outcome in CALLED:
                text = f"The ledger has a call ({rows[place].outcome}) for attempt {place[1]} at turn {place[0]}, which was never begun."
                self._find("call_stray", identity, text)
        for event in own:
            if isinstance(event, TurnCompleted) and (call := rows.get((event.turn, event.attempt))) is not None:
                said, kept = ("answered", event.tokens_in, event.tokens_out), (call.outcome, call.tokens_in, call.tokens_out)
                if said != kept:
                    text = f"The call of attempt {event.attempt} at turn {event.turn} is {_call(kept)}, by its event {_call(said)}."
                    self._find("call_wrong", identity, text)
        self._check_open(identity, conversation, calls)

    def _check_open(self, identity: UUID, conversation: Conversation, calls: Sequence[KeptCall]) -> None:
        running = conversation.running
        waiting = {(turn.id, conversation.next_attempt(turn.id)) for turn in conversation.content.turns if turn.status == "waiting"}
        for call in calls:
            place = (call.turn, call.attempt)
            held = place in waiting if call.outcome == "reserved" else running is not None and place == (running.id, running.attempt)
            if call.outcome in OPEN and not held:
                text = f"The call of attempt {call.attempt} at turn {call.turn} is {call.outcome}, but nobody waits for it."
                self._find("call_open", identity, text)
        reserved = {(call.turn, call.attempt) for call in calls if call.outcome == "reserved"}
        for turn, attempt in sorted(waiting - reserved):
            self._find("call_missing", identity, f"Turn {turn} waits, but nothing is reserved for attempt {attempt} at it.")

    def _check_ends(self, identity: UUID, calls: Sequence[KeptCall]) -> None:
        """Also of the coach's calls, of which no event tells: a turn has one at a time."""
        for call in calls:
            if (call.outcome in OPEN) != (call.ended_at is None):
                text = f"The call of attempt {call.attempt} at turn {call.turn} is {call.outcome}; the time of its end does not fit that."
                self._find("call_wrong", identity, text)
        coaching = Counter(call.turn for call in calls if call.purpose == "coach" and call.outcome in OPEN)
        for turn, count in coaching.items():
            if count > 1:
                self._find("call_open", identity, f"The coach has {count} calls for turn {turn} at once, but only one may count.")

    def _check_budget(self, identity: UUID, budget: Budget, called: bool) -> None:  # noqa: FBT001 - whether there must be one
        if budget.reserved is None and not called:
            return
        if (budget.reserved, budget.spent) != (budget.owed, budget.used):
            self._find("budget_wrong", identity, _spending(budget))

    async def _check_days(self, account: UUID | None) -> None:
        for budget in await self._reads.wrong_days(account, since=self._now - FORGOTTEN):
            self._find("budget_wrong", None, _spending(budget))

    def _find(self, kind: str, conversation: UUID | None, message: str) -> None:
        self._findings.append(Finding(kind=kind, conversation=conversation, message=message))


def as_text(report: Report) -> Iterable[str]:
    """A line for each finding, and at last what was looked at."""
    for finding in report.findings:
        yield f"{finding.kind}: {'' if finding.conversation is None else f'{finding.conversation}: '}{finding.message}"
    yield from report.notes
    counted = (
        f"{report.conversations} conversations, {report.events} events, {report.log_rows} rows of their log, "
        f"{report.snapshots} snapshots, {report.calls} calls"
    )
    yield f"{counted}: all of it is what the events say." if report.ok else f"{counted}: {len(report.findings)} findings."


def _own(recorded: Sequence[Recorded]) -> Sequence[Recorded]:
    """Without those of its parents: from where it was forked, if it was."""
    forks = [place for place, one in enumerate(recorded) if isinstance(one.event, ConversationForked)]
    return recorded[forks[-1] :] if forks else recorded


def _tells(row: LogRow, event: KeptEvent) -> bool:
    """Whether it is the event, word by word. Both are JSON; what is personal lies in a part of its own in the event."""
    data: dict[str, Any] = msgspec.json.decode(event.data)
    try:
        told = msgspec.json.decode(row.data)
    except msgspec.DecodeError:
        return False
    if event.personal is not None:
        data |= msgspec.json.decode(event.personal, type=dict[str, Any])
    about = (None if row.turn is None else str(row.turn), row.attempt)
    return row.name == event.name and told == data and about == (data.get("turn"), data.get("attempt"))


def _missing(numbers: Iterable[int], first: int, last: int) -> list[int]:
    """Of `first` to `last`, and of each gap no more than anybody reads."""
    missing: list[int] = []
    for number in sorted({number for number in numbers if first <= number <= last} | {last + 1}):
        missing.extend(range(first, min(number, first + MOST_OF_A_GAP)))
        first = number + 1
    return missing


def _listed(numbers: Iterable[int], most: int = 5) -> str:
    """`3, 4, 9`, or the first few of many."""
    every = list(numbers)
    return ", ".join(map(str, every[:most])) + (f" and {len(every) - most} more" if len(every) > most else "")


def _word(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _call(call: tuple[str, int | None, int | None]) -> str:
    return f"{call[0]} with {call[1]} + {call[2]} tokens"


def _spending(budget: Budget) -> str:
    kept = "is not there" if budget.reserved is None else f"has {budget.reserved} reserved and {budget.spent} spent"
    return f"The budget {budget.scope} {kept}; by the calls {budget.owed} are reserved and {budget.used} spent."
