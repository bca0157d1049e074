"""The statements of the runbook are run, so that they stay true."""

import re
from pathlib import Path

import pytest

from app.bootstrap import House
from bus.harness import Harness
from bus.message import ANONYMOUS
from tests.factories import Registrations
from tests.support import ScriptedMailer, rows

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"
STATEMENTS = re.findall(r"```sql\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)


def test_there_are_statements_to_run() -> None:
    assert len(STATEMENTS) == RUNBOOK.read_text().count("```sql")
    assert STATEMENTS


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_a_statement_of_the_runbook_answers_with_what_is_there(
    harness: Harness, house: House, mailer: ScriptedMailer, statement: str
) -> None:
    mailer.failures = [OSError("the mail server is gone")]
    await harness.execute(Registrations.build(), by=ANONYMOUS)
    await harness.settle()
    assert len(await rows(house, statement.strip().rstrip(";"))) == 1
