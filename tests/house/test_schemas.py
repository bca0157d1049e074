"""What may be changed in a version of a message that others have, and what the snapshots under `docs/schemas` say of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, cast
from uuid import UUID

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType

from app.describe import registry_of_the_house
from app.evolution import breaking, check, schema_of, write
from bus.catalog import MessageType
from bus.message import WITHHELD, Command, Event, Personal, Secret, Wire
from tests.house.copies import REPOSITORY, Copy

SCHEMAS = REPOSITORY / "docs" / "schemas"
SPOKEN = Wire(name="talk.spoken", key="room", subject="speaker")


LONG, LONGER = Annotated[str, Meta(max_length=9)], Annotated[str, Meta(max_length=10)]
NONE, ONE = Annotated[int, Meta(ge=0)], Annotated[int, Meta(ge=1)]


class Tone(msgspec.Struct):
    pitch: str


class Tune(msgspec.Struct):
    pitch: int
    name: str = ""


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    pitch: int


class Opened(msgspec.Struct, forbid_unknown_fields=True):
    pitch: int
    name: str = ""


class Whisper(msgspec.Struct, tag="whisper"):
    to: str


class Shout(msgspec.Struct, tag="shout"):
    at: str


class Branch(msgspec.Struct):
    """Holds itself."""

    leaves: list["Branch"]
    colour: str = "green"


class Trunk(msgspec.Struct):
    leaves: list["Trunk"]
    colour: int = 0


def event(wire: Wire = SPOKEN, **fields: Any) -> type[Event]:
    return _message(Event, wire, fields)


def command(**fields: Any) -> type[Command[Any]]:
    return _message(Command, Wire(name="talk.speak"), fields)


def _message(base: Any, wire: Wire, fields: dict[str, Any]) -> Any:
    """A message with a room and these fields; a pair is a type and a default."""
    own: list[Any] = [(name, *cast("tuple[Any, ...]", kind)) if isinstance(kind, tuple) else (name, kind) for name, kind in fields.items()]
    made: list[Any] = [("room", str), ("speaker", UUID), *own]
    return msgspec.defstruct("Spoken", made, bases=(base,), namespace={"wire": wire}, frozen=True, kw_only=True)


class Change(NamedTuple):
    """Of the field `said`; what is said of it for the sake of older rows, or else, of an event, for the sake of its readers."""

    before: Any
    after: Any
    rows: str | None = None
    readers: str | None = None


CHANGES = {
    "nothing": Change(str, str),
    "a_new_default": Change((str, "a"), (str, "b")),
    "a_type_that_holds_itself": Change(Branch, Branch),
    "another_type": Change(str, int, "takes integer only, and older rows may hold string"),
    "a_wider_number": Change(int, float, None, "may now hold number, and readers were told integer"),
    "a_narrower_number": Change(float, int, "takes integer only, and older rows may hold number"),
    "null": Change(str, str | None, None, "may now hold null, and readers were told string"),
    "no_null": Change(str | None, str, "takes string only, and older rows may hold null"),
    "absence": Change(str, (str | UnsetType, UNSET), None, "may now be absent, and readers rely on it"),
    "a_default": Change(str, (str, ""), None, "may now be absent, and readers rely on it"),
    "no_default": Change((str, ""), str, "must now be there, and older rows may lack it"),
    "one_more_value": Change(Literal["a", "b"], Literal["a", "b", "c"], None, 'may now hold "c", and readers were told "a" or "b"'),
    "one_value_less": Change(Literal["a", "b"], Literal["a"], 'takes "a" only, and older rows may hold "b"'),
    "an_open_set": Change(Literal["a", 1], str | int, None, 'may now hold string, and readers were told 1 or "a"'),
    "no_format": Change(UUID, str, None, "may now hold string, and readers were told string (format uuid)"),
    "a_format": Change(str, UUID, "takes string (format uuid) only, and older rows may hold string"),
    "a_longer_text": Change(LONG, LONGER, None, "may now hold string (maxLength 10), and readers were told string (maxLength 9)"),
    "a_shorter_text": Change(LONGER, LONG, "takes string (maxLength 9) only, and older rows may hold string (maxLength 10)"),
    "a_smaller_least": Change(ONE, NONE, None, "may now hold integer (minimum 0), and readers were told integer (minimum 1)"),
    "a_greater_least": Change(NONE, ONE, "takes integer (minimum 1) only, and older rows may hold integer (minimum 0)"),
    "a_longer_tuple": Change(
        *(tuple[str, str], tuple[str, str, str]),
        "takes tuple (minItems 3, maxItems 3) only, and older rows may hold tuple (minItems 2, maxItems 2)",
    ),
    "one_struct_more": Change(Whisper, Whisper | Shout, None, 'may now hold "shout", and readers were told "whisper"'),
    "one_struct_less": Change(Whisper | Shout, Whisper, 'takes "whisper" only, and older rows may hold "shout"'),
    "anything": Change(str, Any, None, "may now hold anything, and readers were told string"),
    "no_longer_anything": Change(Any, str, "takes string only, and older rows may hold anything"),
    "text_for_bytes": Change(bytes, str, "takes string only, and older rows may hold string (contentEncoding base64)"),
    "a_field_of_a_closed_type": Change(Closed, Opened, None, "is new, and its readers were told that there are no others"),
}
# Where in the field it is said to be.
DEEPER = {
    "items": ("said[]", Change(list[str], list[int])),
    "values_of_a_dictionary": ("said{}", Change(dict[str, str], dict[str, int])),
    "a_place_in_a_tuple": ("said[1]", Change(tuple[str, str], tuple[str, int])),
    "a_field_of_a_field": ("said.pitch", Change(Tone, Tune)),
    "a_field_within_a_type_that_holds_itself": ("said.colour", Change(Branch, Trunk)),
}


def found(make: Callable[..., MessageType], change: Change) -> list[str]:
    return breaking(schema_of(make(said=change.before)), schema_of(make(said=change.after)))


@pytest.mark.parametrize("name", CHANGES)
def test_what_older_rows_hold_of_a_command_stays_readable(name: str) -> None:
    told = [sentence.partition("` ")[2] for sentence in found(command, CHANGES[name])]
    assert told[:1] == ([CHANGES[name].rows] if CHANGES[name].rows else [])


@pytest.mark.parametrize("name", CHANGES)
def test_what_older_rows_hold_of_an_event_stays_readable_and_so_does_it_for_others(name: str) -> None:
    told = [sentence.partition("` ")[2] for sentence in found(event, CHANGES[name])]
    expected = CHANGES[name].rows or CHANGES[name].readers
    assert told[:1] == ([expected] if expected else [])


@pytest.mark.parametrize("name", DEEPER)
def test_a_field_is_named_by_where_it_is(name: str) -> None:
    place, change = DEEPER[name]
    for make in (event, command):
        [sentence] = found(make, change)
        assert sentence == f"the field `{place}` takes integer only, and older rows may hold string"


def test_a_new_field_needs_a_default() -> None:
    for make in (event, command):
        assert breaking(schema_of(make()), schema_of(make(said=(str, "")))) == []
        assert breaking(schema_of(make()), schema_of(make(said=(str | UnsetType, UNSET)))) == []
        assert breaking(schema_of(make()), schema_of(make(said=str))) == [
            "the field `said` is new and has no default, and older rows lack it"
        ]


def test_a_field_may_not_go_or_be_renamed() -> None:
    gone = "the field `said` is gone, and what older rows say in it would be passed over in silence"
    for make in (event, command):
        assert breaking(schema_of(make(said=(str, ""))), schema_of(make())) == [gone]
        assert breaking(schema_of(make(said=str)), schema_of(make(told=str))) == [
            "the field `told` is new and has no default, and older rows lack it",
            gone,
        ]


@pytest.mark.parametrize("role", ["key", "subject"])
def test_the_key_and_the_subject_of_an_event_are_part_of_it(role: str) -> None:
    changed: dict[str, Any] = {role: "other"}
    wire = msgspec.structs.replace(SPOKEN, **changed)
    before = getattr(SPOKEN, role)
    assert breaking(schema_of(event(other=str)), schema_of(event(wire, other=str))) == [
        f"its {role} was {before!r} and is 'other', and readers rely on it"
    ]


def test_a_secret_is_a_sealed_text_and_no_other() -> None:
    sealed, plain = schema_of(command(said=Secret)), schema_of(command(said=str))
    assert sealed["properties"]["said"]["format"] == "sealed"
    assert len(breaking(sealed, plain)) == len(breaking(plain, sealed)) == 1


def test_what_is_personal_is_a_sealed_text_that_nobody_need_have() -> None:
    found = schema_of(event(said=(Personal, WITHHELD), loud=(bool, False)))
    assert found["properties"]["said"]["format"] == "personal"
    assert "default" not in found["properties"]["said"]
    assert found["properties"]["loud"] == {"type": "boolean", "default": False}
    assert "said" not in found.get("required", [])
    assert len(breaking(found, schema_of(event(said=(str, ""), loud=(bool, False))))) == 1


def test_a_type_that_json_does_not_know_is_named() -> None:
    class Odd:
        pass

    with pytest.raises(TypeError, match="Odd"):
        schema_of(command(said=Odd))


V1 = event(said=str)
V2 = event(msgspec.structs.replace(SPOKEN, version=2), said=int)


def test_a_snapshot_lies_where_its_name_and_version_say(tmp_path: Path) -> None:
    assert check([V1], tmp_path) == [f"{tmp_path}/talk/spoken.v1.json is missing or out of date: run `make docs`"]
    assert write([V1], tmp_path) == []
    snapshot = json.loads((tmp_path / "talk" / "spoken.v1.json").read_text())
    assert snapshot["x-message"] == {"kind": "event", "name": "talk.spoken", "version": 1, "key": "room", "subject": "speaker"}
    assert snapshot["required"] == ["room", "speaker", "said"]
    assert check([V1], tmp_path) == []


def test_a_harmless_change_is_out_of_date_until_it_is_written(tmp_path: Path) -> None:
    changed = event(said=str, tone=(str, ""))
    write([V1], tmp_path)
    assert check([changed], tmp_path) == [f"{tmp_path}/talk/spoken.v1.json is missing or out of date: run `make docs`"]
    assert write([changed], tmp_path) == []
    assert check([changed], tmp_path) == []


def test_nothing_is_written_over_a_snapshot_that_would_break(tmp_path: Path) -> None:
    write([V1], tmp_path)
    before = (tmp_path / "talk" / "spoken.v1.json").read_text()
    changed = event(said=int)
    promise = (
        "talk.spoken v1: the field `said` takes integer only, and older rows may hold string. Leave version 1 as it was: "
        'declare version 2 in its `Wire`, and write an upcaster, @upcasts("talk.spoken", 1)'
    )
    assert write([changed, command()], tmp_path) == [promise]
    assert check([changed], tmp_path)[0] == promise
    assert [path.name for path in tmp_path.rglob("*.json")] == ["spoken.v1.json"]
    assert (tmp_path / "talk" / "spoken.v1.json").read_text() == before


def test_a_new_version_stands_beside_the_earlier_ones(tmp_path: Path) -> None:
    write([V1], tmp_path)
    assert write([V2], tmp_path) == []
    assert sorted(path.name for path in tmp_path.rglob("*.json")) == ["spoken.v1.json", "spoken.v2.json"]
    assert check([V2], tmp_path) == []


def test_the_snapshot_of_an_earlier_version_stays(tmp_path: Path) -> None:
    write([V1], tmp_path)
    write([V2], tmp_path)
    (tmp_path / "talk" / "spoken.v1.json").unlink()
    [problem] = check([V2], tmp_path)
    assert problem.startswith(f"{tmp_path}/talk/spoken.v1.json is missing, and the snapshot of an earlier version stays for ever")
    assert write([V2], tmp_path) == [problem]


@pytest.mark.parametrize("left", [[V1], []])
def test_a_message_or_version_that_is_no_longer_there_is_named(tmp_path: Path, left: list[type[Event]]) -> None:
    write([V1], tmp_path)
    write([V2], tmp_path)
    named = [problem.partition(" is the snapshot of a message or version that is no longer there")[0] for problem in check(left, tmp_path)]
    assert named == [f"{tmp_path}/talk/spoken.v{version}.json" for version in (1, 2) if not left or version == 2]


def test_every_message_of_the_house_has_its_snapshot() -> None:
    messages = registry_of_the_house().catalog.messages
    assert check(messages, SCHEMAS) == []
    assert len(list(SCHEMAS.rglob("*.v1.json"))) >= len(messages)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    copy = Copy(tmp_path / "house")
    shutil.copytree(SCHEMAS, copy.folder / "schemas")
    return copy


def describe(copy: Copy, *options: str) -> tuple[int, str]:
    run = copy.run("-m", "app.cli", "describe", "--schemas", "schemas", *options)
    return run.returncode, run.stderr


def test_the_command_checks_and_writes_and_refuses(copy: Copy) -> None:
    copy.replace("domain/accounts/events.py", "    fields: tuple[str, ...]", "    fields: tuple[str, ...]\n    at_once: bool = True")
    status, said = describe(copy, "--check")
    assert (status, "schemas/accounts/profile_changed.v1.json is missing or out of date: run `make docs`" in said) == (1, True)
    assert describe(copy) == (0, "")
    assert describe(copy, "--check") == (0, "")
    copy.replace("domain/accounts/events.py", "    fields: tuple[str, ...]", "    names: tuple[str, ...]")
    status, said = describe(copy)
    assert (status, "accounts.profile_changed v1: the field `fields` is gone" in said) == (1, True)
    assert '"fields"' in (copy.folder / "schemas" / "accounts" / "profile_changed.v1.json").read_text()


def test_the_command_refuses_to_check_nothing(copy: Copy) -> None:
    run = copy.run("-m", "app.cli", "describe", "--check")
    assert (run.returncode, "name it with --schemas" in run.stderr) == (2, True)
