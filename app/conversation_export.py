"""A conversation as a file: JSON, Markdown, or WebVTT."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from domain.practice.scenario import Scenario
from domain.practice.views import ConversationView

ExportFormat = Literal["json", "markdown", "vtt"]
Write = Callable[[ConversationView, Scenario | None], bytes]

_SECONDS_A_WORD = 0.4
_LEAST_SECONDS = 1.5
# What would begin something in Markdown, anywhere or at the start of a line, of which no more than that line is looked at.
_STRUCTURE = re.compile(r"([\\`*_{}\[\]<>#|~!&])|^([^\S\n]*(?:\d+(?=[.)]))?)([-+=>.)])", re.MULTILINE)


class Document(msgspec.Struct, frozen=True, kw_only=True):
    conversation: ConversationView
    scenario: Scenario | None


def as_json(view: ConversationView, scenario: Scenario | None) -> bytes:
    """Everything but the scenario's script, which is for its partner alone."""
    shown = None if scenario is None else msgspec.structs.replace(scenario, script=None)
    return msgspec.json.format(msgspec.json.encode(Document(conversation=view, scenario=shown)), indent=2) + b"\n"


def as_markdown(view: ConversationView, scenario: Scenario | None) -> bytes:
    return "\n".join(_markdown(view, scenario)).encode() + b"\n"


def as_vtt(view: ConversationView, scenario: Scenario | None) -> bytes:
    """Cues as long as it takes to say them, from when each was said; WebVTT (W3C), with `v` for who speaks."""
    lines = ["WEBVTT", ""]
    free = timedelta(0)
    for at, speaker, text in _said(view, scenario):
        begins = max(at - view.created_at, free)
        words = len(text.split())
        free = begins + timedelta(seconds=max(words * _SECONDS_A_WORD, _LEAST_SECONDS))
        lines += [f"{_instant(begins)} --> {_instant(free)}", f"<v {_cue(speaker)}>{_cue(text)}", ""]
    return "\n".join(lines).encode()


EXPORTS: Mapping[ExportFormat, tuple[str, str, Write]] = {
    "json": ("application/json", "json", as_json),
    "markdown": ("text/markdown; charset=utf-8", "md", as_markdown),
    "vtt": ("text/vtt; charset=utf-8", "vtt", as_vtt),
}
"""Media type, suffix of the file, and how it is written."""


def _said(view: ConversationView, scenario: Scenario | None) -> Iterator[tuple[datetime, str, str]]:
    partner = "Partner" if scenario is None else scenario.persona.name
    if scenario is not None:
        yield view.created_at, partner, scenario.opening
    for turn in view.turns:
        yield turn.said_at, "Learner", turn.text
        if turn.answer is not None:
            yield turn.answered_at or turn.said_at, partner, turn.answer


def _markdown(view: ConversationView, scenario: Scenario | None) -> Iterator[str]:
    title = view.title or (None if scenario is None else scenario.title) or "Conversation"
    yield f"# {_plain(title)}"
    yield ""
    if scenario is not None:
        persona = scenario.persona
        yield f"{_plain(scenario.learner.role)} and {_plain(persona.name)}, {_plain(persona.role)}. Version {view.version}."
        yield ""
        yield f"**{_plain(scenario.persona.name)}:** {_plain(scenario.opening)}"
        yield ""
    partner = "Partner" if scenario is None else scenario.persona.name
    for turn in view.turns:
        yield f"**Learner:** {_plain(turn.text)}"
        yield ""
        for span in turn.feedback or ():
            yield f"> {_plain(span.original)} → {_plain(span.correction)}: {_plain(span.explanation)}"
            yield ""
        if turn.answer is not None:
            yield f"**{_plain(partner)}:** {_plain(turn.answer)}"
            yield ""
    if view.report is not None:
        yield "## Report"
        yield ""
        yield f"Score {view.report.score}; the goal was {'reached' if view.report.goal_reached else 'not reached'}."
        for heading, points in (("What went well", view.report.went_well), ("To work on", view.report.to_work_on)):
            yield ""
            yield f"### {heading}"
            yield ""
            for point in points:
                yield f"- “{_plain(point.quote)}”: {_plain(point.text)}"


def _plain(text: str) -> str:
    """As text, whatever it has that Markdown would take for more; a line break stays one."""
    return _STRUCTURE.sub(lambda found: f"\\{found[1]}" if found[1] else f"{found[2]}\\{found[3]}", text).replace("\n", "  \n")


def _cue(text: str) -> str:
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def _instant(since: timedelta) -> str:
    milliseconds = int(since.total_seconds() * 1000)
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}"
