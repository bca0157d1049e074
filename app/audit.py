"""`fluentpro audit verify`: whether the feed still is what was sealed, judged by the checkpoints outside the database.

A seal proves its positions and, through the hash before it, all earlier ones. A signed checkpoint outside the database is believed more
than the table of seals; where there is none, the table is believed as far as it is signed.
"""

import heapq
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

import msgspec

from app.checkpoints import Unreadable, files_in, is_signed, read_line
from bus.work import Seal
from db.ledger.evidence import Evidence, Span
from db.ledger.seals import BEGINNING, chained

BATCH = 500
PROGRESS = 100
STRAYS = 20
# A relay writes a checkpoint down right after its commit.
FRESH = timedelta(seconds=60)


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that should not be; `kind` is for programs. Segments and positions are the first and the last of them."""

    kind: str
    message: str
    segments: Span | None = None
    positions: Span | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found: so many segments, up to this position, were judged; `unsealed` positions came after them."""

    ok: bool
    segments: int
    positions: int
    unsealed: int
    findings: list[Finding]
    notes: list[str]


def as_text(verdict: Verdict) -> str:
    """For people: a line for each finding and note, and a last one that sums up."""
    judged = f"{verdict.segments} segments up to position {verdict.positions} were judged; {verdict.unsealed} positions are not sealed yet."
    summary = "Nothing was altered, removed, added or cut off." if verdict.ok else f"FINDINGS: {len(verdict.findings)}."
    lines = [*(f"{finding.kind}: {finding.message}" for finding in verdict.findings), *verdict.notes, f"{summary} {judged}"]
    return "\n".join(lines)


class _Run(msgspec.Struct):
    """Neighbouring segments of which the same is to be said."""

    kind: str
    first: Seal
    last: Seal

    @property
    def segments(self) -> Span:
        return (self.first.n, self.last.n)

    @property
    def positions(self) -> Span:
        return (self.first.after + 1, self.last.upto)


class Verification:
    """One run over everything, a segment at a time. `paths` are files of checkpoints, or folders of them; `keys` are those that count."""

    def __init__(
        self, evidence: Evidence, paths: Sequence[Path], keys: frozenset[str], *, now: datetime, progress: Callable[[str], None]
    ) -> None:
        self._evidence, self._paths, self._keys, self._now, self._progress = evidence, paths, keys, now, progress
        self._findings: list[Finding] = []
        self._notes: list[str] = []
        self._runs: list[_Run] = []
        self._missing: list[Span] = []
        self._kept: Span | None = None

    async def run(self) -> Verdict:
        last: Seal | None = None
        segments = 0
        async for outside, stored in self._pairs():
            seal = self._believed(outside, stored)
            if seal is None:
                continue
            await self._follow(last, seal)
            last, segments = seal, segments + 1
            if segments % PROGRESS == 0:
                self._progress(f"segment {seal.n}, up to position {seal.upto}")
        upto = last.upto if last else 0
        head = await self._evidence.head()
        await self._look_for_missing(upto, head)
        self._say_runs()
        self._say_missing(last, head)
        self._say_what_proves(segments)
        await self._say_strangers()
        return Verdict(
            ok=not self._findings,
            segments=segments,
            positions=upto,
            unsealed=max(0, head - upto),
            findings=self._findings,
            notes=self._notes,
        )

    # ------------------------------------------------------------------ what was sealed

    async def _pairs(self) -> AsyncIterator[tuple[Seal | None, Seal | None]]:
        """Each checkpoint outside the database with its row in the table, or whichever there is, in order."""
        checkpoints = self._checkpoints()
        outside = next(checkpoints, None)
        after = 0
        while rows := await self._evidence.seals(after, BATCH):
            for stored in rows:
                while outside is not None and outside.n < stored.n:
                    yield outside, None
                    outside = next(checkpoints, None)
                if outside is not None and outside.n == stored.n:
                    yield outside, stored
                    outside = next(checkpoints, None)
                else:
                    yield None, stored
            after = rows[-1].n
        while outside is not None:
            yield outside, None
            outside = next(checkpoints, None)

    def _checkpoints(self) -> Iterator[Seal]:
        """Those of all files that are signed, in order, each once."""
        files = [file for path in self._paths if path.exists() for file in (files_in(path) if path.is_dir() else [path])]
        merged = heapq.merge(*map(self._lines, files), key=_number)
        for n, same in groupby(merged, key=_number):
            first, *others = same
            if any(other != first for other in others):
                self._find("checkpoint_contradicted", f"There are two checkpoints {n}, both signed: the feed was sealed twice.", (n, n))
            if self._kept is not None and n > self._kept[1] + 1:
                gap = (self._kept[1] + 1, n - 1)
                self._find("checkpoint_missing", f"The files lack {_named('checkpoint', gap)}, but not the next.", gap)
            self._kept = (n if self._kept is None else self._kept[0], n)
            yield first

    def _lines(self, file: Path) -> Iterator[Seal]:
        last = 0
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                where = f"{file}, line {number}"
                try:
                    seal = read_line(line)
                except Unreadable:
                    self._find("checkpoint_unreadable", f"{where}: this is no checkpoint.")
                    continue
                if not is_signed(seal, self._keys):
                    self._find("checkpoint_forged", f"{where}: checkpoint {seal.n} {self._unsigned(seal)}", (seal.n, seal.n))
                elif seal.n <= last:
                    self._find("checkpoint_misplaced", f"{where}: checkpoint {seal.n} stands behind checkpoint {last}.", (seal.n, seal.n))
                else:
                    last = seal.n
                    yield seal

    def _believed(self, outside: Seal | None, stored: Seal | None) -> Seal | None:
        if outside is not None:
            if stored is None:
                self._extend("absent", outside)
            elif stored != outside:
                self._extend("rewritten", outside)
            return outside
        if stored is not None and is_signed(stored, self._keys):
            self._extend("unkept", stored)
            return stored
        if stored is not None:
            self._find("seal_forged", f"In the table, seal {stored.n} {self._unsigned(stored)}", (stored.n, stored.n))
        return None

    def _unsigned(self, seal: Seal) -> str:
        if seal.key in self._keys:
            return "does not have the signature that it needs: it was altered."
        return f"is signed with the key {seal.key!r}: if that was the key of an earlier secret key, give it with --key."

    # ------------------------------------------------------------------ what is there

    async def _follow(self, before: Seal | None, seal: Seal) -> None:
        """Whether the seal follows the one before, and the feed holds what it is over."""
        n, upto, chain = (before.n, before.upto, before.hash) if before else (0, 0, BEGINNING)
        follows = seal.n == n + 1
        if not follows:
            gap = (n + 1, seal.n - 1)
            self._find("seal_missing", f"Neither the table nor a file has {_named('seal', gap)}.", gap)
            await self._look_for_missing(upto, seal.after)
        elif seal.after != upto:
            text = f"Seal {n} ends at position {upto}, but seal {seal.n} begins after position {seal.after}."
            self._find("seal_contradicted", text, (n, seal.n))
        found = await self._evidence.digest(seal.after, seal.upto)
        expected = seal.upto - seal.after
        if found.rows < expected and await self._look_for_missing(seal.after, seal.upto):
            return
        # Whoever drops the keys of the feed can give a position twice, even before it is sealed.
        if found.rows != expected or (follows and chained(chain, found.digest) != seal.hash):
            hollow = await self._evidence.hollow(seal.after, seal.upto)
            for position in hollow:
                self._find("event_missing", f"The event of position {position} is missing.", positions=(position, position))
            if not hollow:
                self._extend("altered", seal)

    async def _look_for_missing(self, after: int, upto: int) -> bool:
        """Whether there are any; they are said at the end, neighbours together."""
        spans = await self._evidence.missing(after, upto)
        for first, last in spans:
            if self._missing and self._missing[-1][1] == first - 1:
                self._missing[-1] = (self._missing[-1][0], last)
            else:
                self._missing.append((first, last))
        return bool(spans)

    # ------------------------------------------------------------------ what is to be said

    def _say_runs(self) -> None:
        for run in self._runs:
            segments, positions = _named("segment", run.segments), _named("position", run.positions)
            match run.kind:
                case "altered":
                    self._find("altered", f"In {segments} ({positions}) something was altered.", run.segments, run.positions)
                case "rewritten":
                    text = f"The chain was rewritten from segment {run.first.n}: the seals of {segments} are not those of the checkpoints."
                    self._find("rewritten", text, run.segments, run.positions)
                case "absent":
                    checkpoints = f"{_named('checkpoint', run.segments)} of {run.last.at.isoformat()}"
                    self._find("absent", f"The database does not have {checkpoints} ({positions}).", run.segments, run.positions)
                case _:
                    self._say_unkept(run)

    def _say_unkept(self, run: _Run) -> None:
        """Seals that the table has, and no file."""
        seals = f"{_named('seal', run.segments)} ({_named('position', run.positions)})"
        if self._kept is None:
            return  # Said once for everything.
        if run.last.n < self._kept[0]:
            self._notes.append(f"The files begin with checkpoint {self._kept[0]}, whose hash proves {seals} too.")
        elif run.first.n > self._kept[1] and self._now - run.first.at < FRESH:
            self._notes.append(f"The files do not have {seals} yet: they were sealed within the last minute.")
        elif run.first.n > self._kept[1]:
            text = (
                f"The files do not have {seals}: these are only as good as the table. The log of the relay says why: checkpoints_not_kept."
            )
            self._find("unkept", text, run.segments, run.positions)

    def _say_missing(self, last: Seal | None, head: int) -> None:
        for span in self._missing:
            if last is not None and span[0] > head:
                reach = f"checkpoint {last.n} of {last.at.isoformat()} reaches to position {last.upto}"
                text = f"Cut off from the end: at least {_named('position', span)}; {reach}."
                self._find("cut_off", text, positions=span)
            else:
                self._find("missing", f"The feed lacks {_named('position', span)}.", positions=span)

    def _say_what_proves(self, segments: int) -> None:
        if self._kept is not None:
            self._notes.append(f"Believed outside the database: {_named('checkpoint', self._kept)}.")
        elif segments:
            places = ", ".join(str(path) for path in self._paths)
            text = f"There is no checkpoint in {places}: whether the end was cut off is only as certain as the table of seals."
            self._find("no_checkpoints", text)
        else:
            self._notes.append("Nothing is sealed yet.")

    async def _say_strangers(self) -> None:
        if rows := await self._evidence.before_the_first():
            self._find("foreign", f"The feed has {rows} rows with positions below 1, which nobody gave.")
        strays = await self._evidence.strays(STRAYS + 1)
        for stray in strays[:STRAYS]:
            self._find("stray_event", f"The event {stray.id} ({stray.name}) has neither a position nor a place in the outbox.")
        if len(strays) > STRAYS:
            self._find("stray_event", f"There are more than {STRAYS} such events.")

    def _extend(self, kind: str, seal: Seal) -> None:
        run = next((run for run in reversed(self._runs) if run.kind == kind), None)
        if run is not None and run.last.n == seal.n - 1:
            run.last = seal
        else:
            self._runs.append(_Run(kind, seal, seal))

    def _find(self, kind: str, message: str, segments: Span | None = None, positions: Span | None = None) -> None:
        self._findings.append(Finding(kind=kind, message=message, segments=segments, positions=positions))


def _number(seal: Seal) -> int:
    return seal.n


def _named(noun: str, span: Span) -> str:
    """`segment 7`, or `segments 7 to 9`."""
    first, last = span
    return f"{noun} {first}" if first == last else f"{noun}s {first} to {last}"
