"""Conversations in a terminal. What people wrote is shown as text: it can neither steer the terminal nor format anything."""

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from app.state.health import Connected, Health
from app.state.inspection import Change, Difference, Happened, Inspected
from db.reads.conversations_admin import ConversationEntry, Numbers
from domain.practice.views import TurnView

UNBOUND = 240
"""Columns of what is not a terminal: nothing is cut off or wrapped that a program may read."""
# Unicode's names of what moves the cursor, changes the direction of writing, or is not there: Cc, Cf, Cs, Co, Cn, Zl and Zp.
_UNSAFE = ("C", "Zl", "Zp")
_IN_JSON = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def safe(text: str, *, lines: bool = False) -> str:
    """Without anything that a terminal obeys; what is taken out stands as its number. With `lines`, line breaks stay."""
    return "".join(one if (lines and one == "\n") or not _is_unsafe(one) else _escaped(one) for one in text)


def safe_json(document: bytes) -> str:
    """The same document: JSON writes what JSON need not, where a terminal would obey it."""
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", document.decode())


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character).startswith(_UNSAFE)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def show(*parts: RenderableType) -> None:
    """On standard output, in colour where that is a terminal that has some."""
    console = Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else UNBOUND)
    for part in parts:
        console.print(part)


def entries(found: Sequence[ConversationEntry]) -> Table:
    rows = (
        [
            str(one.id),
            str(one.account),
            one.status,
            str(one.turns),
            str(one.version),
            _word(one.score),
            "yes" if one.support else "no",
            _time(one.updated_at),
        ]
        for one in found
    )
    return _table(("conversation", "account", "status", "turns", "version", "score", "shared", "changed"), rows)


def inspected(found: Inspected, happened: Sequence[Happened]) -> Iterator[RenderableType]:
    view = found.conversation
    yield _fields(
        {
            "conversation": view.id,
            "account": found.account,
            "title": view.title,
            "scenario": f"{view.scenario}, version {view.scenario_version}",
            "forked from": None if view.parent is None else f"{view.parent}, version {view.parent_version}",
            "version": f"{view.version}, as of {view.head}" if view.head != view.version else view.version,
            "phase": view.phase,
            "ended": None if view.ended is None else f"by the {view.ended}",
            "settings": ", ".join(f"{name} {value}" for name, value in msgspec.structs.asdict(view.settings).items()),
            "level": view.level,
            "goals met": ", ".join(view.met),
            "mistakes": view.mistakes,
            "score": view.score,
            "tokens": f"{view.tokens_in} in, {view.tokens_out} out",
            "begun": _time(view.created_at),
            "changed": _time(view.updated_at),
            "put away": "deleted" if found.deleted else "archived" if view.archived else None,
            "text": "shared by its learner, who is told that it was read" if found.shared else "not shared by its learner",
        }
    )
    for turn in view.turns:
        yield from _turn(turn)
    if view.summary is not None:
        yield _said("summary", view.summary)
    if view.report is not None:
        for heading, points in (("went well", view.report.went_well), ("to work on", view.report.to_work_on)):
            for point in points:
                yield _said(heading, f"{point.quote}: {point.text}")
    yield Text()
    yield events(happened)


def events(happened: Sequence[Happened]) -> Table:
    rows = (
        [str(one.version), _time(one.at), one.type, _word(one.turn), _word(one.attempt), "" if one.to is None else f"to {one.to}"]
        for one in happened
    )
    return _table(("version", "at", "event", "turn", "attempt", ""), rows)


def difference(found: Difference) -> Iterator[RenderableType]:
    yield Text(f"{found.conversation} from version {found.before} to {found.after}", style="bold")
    if not found.shared:
        yield Text("Its learner does not share the text: whether that changed is only in the events.")
    yield events(found.events)
    if not found.changes:
        yield Text("Nothing else is different.")
    for change in found.changes:
        yield from _change(change)


def numbers(found: Numbers, online: Connected | None) -> Iterator[RenderableType]:
    yield _fields(
        {
            "conversations": f"{found.conversations}, of which {found.forks} are forks and {found.shared} are shared",
            "turns": found.turns,
            "tokens reserved": found.tokens_reserved,
            "snapshots": f"{found.snapshots}, {found.snapshot_bytes} bytes",
            "generation": found.generation,
            "connected": "unknown, for Redis does not answer"
            if online is None
            else f"{online.people} people over {online.connections} connections, {online.average} each, at most {online.most}",
        }
    )
    yield _table(("status", "conversations"), ([one.name, str(one.count)] for one in found.by_status))
    calls = ([one.name, str(one.count), str(one.tokens_in), str(one.tokens_out), f"{one.cost:.4f}"] for one in found.calls)
    yield _table(("calls", "number", "tokens in", "tokens out", "cost"), calls)
    yield _table(("day of the log", "rows"), ([one.name, str(one.count)] for one in found.log_rows))


def health(found: Health) -> Table:
    return _table(("check", "status", "detail"), ([one.name, one.status, one.detail] for one in found.checks))


def _turn(turn: TurnView) -> Iterator[RenderableType]:
    yield Text()
    attempt = f", attempt {turn.attempt}" if turn.attempt else ""
    model = "" if turn.model is None else f" of {safe(turn.model)}"
    error = "" if turn.error is None else f": {safe(turn.error)}"
    yield Text(f"{turn.number}. {turn.id}  {_time(turn.said_at)}  {turn.status}{attempt}{model}{error}", style="bold")
    yield _said("learner", turn.text)
    for span in turn.feedback or ():
        yield _said("coach", f"{span.original} -> {span.correction}: {span.explanation}")
    if turn.answer is not None:
        yield _said("partner", turn.answer)


def _change(change: Change) -> Iterator[RenderableType]:
    yield Text(change.field, style="bold")
    for sign, value, style in (("-", change.before, "red"), ("+", change.after, "green")):
        if value is not None:
            shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            yield Text(f"  {sign} {safe(shown)}", style=style)


def _said(who: str, text: str) -> Text:
    """On further lines when it has several, each behind the same margin: none can be taken for a line of ours."""
    first, *others = safe(text, lines=True).split("\n")
    return Text("\n".join([f"   {who:>8}: {first}", *(f"   {'':>8}| {line}" for line in others)]))


def _fields(fields: dict[str, object]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        if value is not None and value != "":
            table.add_row(Text(name), Text(safe(str(value))))
    return table


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(safe(cell)) for cell in row))
    return table


def _word(value: object) -> str:
    return "" if value is None else str(value)


def _time(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}"
