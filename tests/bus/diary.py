"""An area whose events have something personal in them and are numbered: `script` decides what goes wrong, as in `tests.bus.sample`."""

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from bus.message import WITHHELD, Command, Event, Personal, Wire
from bus.registry import Rule, handles, reacts
from bus.work import Notice
from db.session import Work
from handlers.policy import Anyone
from tests.bus.sample import script

CHANNEL = "diary"
OWNER = UUID(int=21)


class Written(Event, frozen=True, kw_only=True):
    wire: ClassVar = Wire(name="diary.written", key="diary", subject="owner", number="page", seen=True)
    diary: str
    owner: UUID
    page: int
    text: Personal = WITHHELD


class Write(Command[None], frozen=True, kw_only=True):
    """Says on the channel what it writes."""

    text: str
    page: int = 1
    diary: str = "blue"


POLICY: Mapping[type[Command[Any]], Rule] = {Write: Anyone()}


def sealed(text: str) -> Personal:
    """As the key of a person would: the bus cannot tell."""
    return Personal(b"sealed " + text[::-1].encode())


@handles(Write)
async def write(cmd: Write, work: Work) -> None:
    work.announce(Notice(CHANNEL, cmd.text.encode()))
    work.record(Written(diary=cmd.diary, owner=OWNER, page=cmd.page, text=sealed(cmd.text)))
    await work.driver.execute("INSERT INTO sample_unique VALUES ($1)", cmd.text)
    await script.step("write", cmd.text)


@reacts("diary.read")
async def read(event: Written, work: Work) -> None:  # noqa: ARG001 - what is written down is in the script
    await script.step("read", event.text.sealed.decode())
