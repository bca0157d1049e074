"""What is said about the messages: by the command, and in the document that is made of it."""

import json
import subprocess
import sys
from pathlib import Path

from app.describe import Described, Field, Reaction, as_markdown, as_text, described, registry_of_the_house
from tests.house.copies import REPOSITORY

TURN = Described(
    kind="event",
    name="practice.turn_answered",
    version=2,
    type="TurnAnswered",
    summary="A partner has answered.",
    fields=[Field("turn", "int | None", optional=False), Field("tone", "str", optional=True)],
    stream="events.practice",
    key="session",
    subject="learner",
    projections=["handlers.practice.count_turns"],
    reactions=[Reaction("practice.mark", "handlers.practice.mark", ordered=True)],
)
TEXT = """event practice.turn_answered v2: TurnAnswered(turn, tone?)
    stream: events.practice, in order for each session
    concerns: learner, who does not see it
    projected by: handlers.practice.count_turns
    reaction: practice.mark: handlers.practice.mark, in order"""
SECTION = """### `practice.turn_answered` v2: TurnAnswered

A partner has answered.

- stream: `events.practice`, in order for each `session`
- concerns: `learner`, who does not see it
- projected by: `handlers.practice.count_turns`
- reaction: `practice.mark`: `handlers.practice.mark`, in order

| field | type | |
|---|---|---|
| `turn` | `int \\| None` |  |
| `tone` | `str` | may be absent |
"""


def fluentpro(*arguments: str) -> str:
    run = subprocess.run([Path(sys.executable).with_name("fluentpro"), *arguments], capture_output=True, text=True, check=True, timeout=60)
    return run.stdout


def test_the_document_is_what_the_command_prints() -> None:
    assert fluentpro("describe", "--markdown") == (REPOSITORY / "docs" / "messages.md").read_text(), "run `make docs`"


def test_the_document_for_programs_is_what_the_command_prints() -> None:
    assert fluentpro("describe", "--asyncapi") == (REPOSITORY / "docs" / "asyncapi.json").read_text(), "run `make docs`"


def test_the_schemas_are_what_the_command_checks() -> None:
    assert fluentpro("describe", "--schemas", str(REPOSITORY / "docs" / "schemas"), "--check") == ""


def test_the_command_prints_every_message() -> None:
    messages = {message.name: message for message in described(registry_of_the_house())}
    text, listed = fluentpro("describe"), json.loads(fluentpro("describe", "--json"))
    assert [message["name"] for message in listed] == list(messages)
    assert [name for name in messages if f" {name} v" not in text] == []
    registered = messages["accounts.registered"]
    assert [reaction.name for reaction in registered.reactions] == ["accounts.send_welcome", "onboarding.begin_journey"]
    assert (registered.stream, registered.subject, registered.seen) == ("events.accounts", "account", True)
    sign_up = messages["accounts.register_account"]
    assert (sign_up.policy, sign_up.handled_by, sign_up.answers) == ("anyone", "handlers.accounts.register_account", "SignedIn")


def test_a_message_reads_in_a_terminal() -> None:
    assert as_text([TURN]) == TEXT


def test_a_message_reads_in_the_document() -> None:
    assert as_markdown([TURN]).endswith(SECTION)
