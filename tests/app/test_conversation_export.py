"""A conversation as Markdown: what was said stays text, and however it was said, it is soon written."""

import time
from datetime import UTC, datetime
from uuid import uuid4

from app.conversation_export import as_markdown
from domain.practice.events import Settings
from domain.practice.views import ConversationView, TurnView

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def written(*said: str) -> str:
    return as_markdown(conversation(*said), None).decode()


def conversation(*said: str) -> ConversationView:
    turns = tuple(
        TurnView(
            id=uuid4(),
            number=number,
            text=text,
            said_at=NOW,
            status="stopped",
            attempt=1,
            answer=None,
            answered_at=None,
            model=None,
            error=None,
            met=(),
            feedback=None,
        )
        for number, text in enumerate(said, 1)
    )
    return ConversationView(
        id=uuid4(),
        scenario=uuid4(),
        scenario_version=1,
        title=None,
        settings=Settings(),
        level="B1",
        phase="idle",
        ended=None,
        turns=turns,
        met=(),
        mistakes=0,
        score=None,
        report=None,
        recommended=(),
        summary=None,
        archived=False,
        support=False,
        parent=None,
        parent_version=None,
        version=1,
        head=1,
        can_undo=True,
        can_redo=False,
        tokens_in=0,
        tokens_out=0,
        created_at=NOW,
        updated_at=NOW,
    )


def test_what_would_begin_a_list_or_heading_on_any_line_is_text() -> None:
    assert "**Learner:** First  \n  \n  \\- second  \n10\\. third - not a list" in written("First\n\n  - second\n10. third - not a list")


def test_a_conversation_of_many_empty_lines_is_written_at_once() -> None:
    """As long as some learners' whole conversation."""
    began = time.monotonic()
    assert written("a" + "\n" * 40_000 + "b").count("\n") > 40_000
    assert time.monotonic() - began < 5


def test_what_looks_like_a_character_reference_is_shown_as_it_was_said() -> None:
    assert "R\\&D wrote \\&copy; and \\&lt;." in written("R&D wrote &copy; and &lt;.")
