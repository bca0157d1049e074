"""What is written to a file of the catalogue is read back, and what is wrong with one is said row by row."""

import csv
import io
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.catalogue_files import (
    ENTRY_COLUMNS,
    ROLE_COLUMNS,
    ROWS_MOST,
    MalformedCSV,
    entries_of_csv,
    entries_of_json,
    read_csv,
    roles_of_csv,
    roles_of_json,
    write_csv,
)
from app.validation import MalformedJSON
from bus.message import FieldError
from domain.errors import Invalid

Rows = st.SearchStrategy[Any]


def now() -> datetime:
    return datetime(2026, 1, 31, tzinfo=UTC)


def wrong(errors: tuple[FieldError, ...]) -> dict[str, str]:
    return {error.field: error.code for error in errors}


# What the rules let in: one line, trimmed. The signs are those that mean something to a spreadsheet, to CSV, or to us.
texts = st.text(st.sampled_from("'=+-@|\\\",; aé\U0001f6a2\uff1d") | st.characters(exclude_categories=("Cc", "Cs")), max_size=12).map(
    str.strip
)
lines = st.lists(texts.filter(bool), max_size=4).map(tuple)
labels: Rows = st.dictionaries(
    st.sampled_from(["zh-Hant", "zh-Hans", "pt-BR"]),
    st.fixed_dictionaries({"name": texts.filter(bool)}, optional={"description": texts.filter(bool)}),
)
entry_rows: Rows = st.fixed_dictionaries(
    {
        "slug": texts,
        "name": texts,
        "description": texts,
        "icon": st.none() | texts.filter(bool),
        "labels": labels,
        "available": st.booleans(),
    }
)
role_rows: Rows = st.fixed_dictionaries(
    {name: lines if name in ("keywords", "duties", "aliases") else texts for name in ROLE_COLUMNS}
    | {"labels": labels, "available": st.booleans()}
)


@given(st.lists(entry_rows, max_size=5))
@example([{"slug": "a", "name": "'=1+1", "description": "''", "icon": "-", "labels": {}, "available": False}])
def test_entries_are_read_as_they_were_written(rows: list[dict[str, Any]]) -> None:
    assert read(ENTRY_COLUMNS, rows) == rows


@given(st.lists(role_rows, max_size=5))
@example(
    [
        {
            **dict.fromkeys(ROLE_COLUMNS, "a"),
            "keywords": ("|", "\\", "\\|", "a\\"),
            "duties": (),
            "aliases": ("'",),
            "labels": {},
            "available": True,
        }
    ]
)
def test_roles_are_read_as_they_were_written(rows: list[dict[str, Any]]) -> None:
    assert read(ROLE_COLUMNS, rows) == rows


def read(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Written and read back; where no row has labels there is no column for them."""
    found = read_csv(columns, write_csv(columns, rows))
    assert [number for number, _ in found] == list(range(1, len(rows) + 1))
    assert all(not errors for _, (_, errors) in found)
    return [{"labels": {}, **values} for _, (values, _) in found]


@given(st.lists(entry_rows, min_size=1, max_size=3))
def test_no_cell_is_a_formula(rows: list[dict[str, Any]]) -> None:
    written = write_csv(ENTRY_COLUMNS, rows).decode("utf-8-sig")
    assert not [cell for line in csv.reader(io.StringIO(written, newline="")) for cell in line if cell[:1] in tuple("=+-@\t\r\uff1d")]


def test_a_spreadsheet_knows_the_encoding_and_the_lines() -> None:
    row = {
        "slug": "auditors",
        "name": "Auditors, internal",
        "description": 'They say "no".',
        "icon": None,
        "labels": {"zh-Hant": {"name": "核數師"}},
    }
    assert (
        write_csv(ENTRY_COLUMNS, [row])
        == (
            "\ufeffslug,name,description,icon,name[zh-Hant],description[zh-Hant],available\r\n"
            'auditors,"Auditors, internal","They say ""no"".",,核數師,,true\r\n'
        ).encode()
    )


@pytest.mark.parametrize("start", ["\ufeff", ""])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_columns_may_come_in_any_order_and_rows_be_empty(start: str, end: str) -> None:
    text = start + end.join(["available,name,slug", "", "FALSE, Auditors ,auditors", ",,", '"","Press, radio",press'])
    first, second = entries_of_csv("partner", text.encode())
    assert (first.number, first.slug, first.values.name, first.values.available) == (2, "auditors", "Auditors", False)
    assert (second.number, second.slug, second.values.name, second.values.available) == (4, "press", "Press, radio", True)
    assert (first.values.description, first.values.icon, first.values.labels) == (msgspec.UNSET, msgspec.UNSET, msgspec.UNSET)


def test_a_line_break_inside_quotes_is_part_of_its_cell() -> None:
    [row] = entries_of_csv("partner", b'slug,description\r\nauditors,"one\r\ntwo"\r\n')
    assert row.values.description == "one\r\ntwo"


def test_rows_of_csv_that_cannot_be_read_say_why() -> None:
    first, second, third = entries_of_csv("partner", b"slug,name,available\na,A,maybe\nb,B,true,more\nc\n")
    assert wrong(first.wrong) == {"/available": "type"}
    assert wrong(second.wrong) == {"": "too_long"}
    assert (third.slug, third.values.name, third.wrong) == ("c", "", ())


@pytest.mark.parametrize(
    ("header", "errors"),
    [
        ("name,colour", {"/columns/slug": "missing", "/columns/colour": "unknown"}),
        (",".join(["slug"] * 501), {"/columns": "too_long"}),
        ("slug,name,name", {"/columns/name": "duplicate"}),
        ("slug,title", {"/columns/title": "unknown"}),
        ("slug,autonym", {"/columns/autonym": "unknown"}),
        (
            "slug,name[chinese],title[zh-Hant],a/b",
            {"/columns/name[chinese]": "unknown", "/columns/title[zh-Hant]": "unknown", "/columns/a~1b": "unknown"},
        ),
    ],
)
def test_a_wrong_header_is_refused(header: str, errors: dict[str, str]) -> None:
    with pytest.raises(Invalid) as refused:
        entries_of_csv("partner", f"{header}\na,b\n".encode())
    assert wrong(refused.value.errors) == errors


def test_only_languages_have_an_autonym() -> None:
    [row] = entries_of_csv("language", b"slug,autonym,direction\nfy,Frysk,ltr\n")
    assert (row.values.autonym, row.values.direction) == ("Frysk", "ltr")


@pytest.mark.parametrize("body", [b"", b"slug\n\xff\n", b'slug,name\na,"b', b'slug,name\na,"b"c\n', b"slug\n" + b"a" * 200_000])
def test_what_is_no_csv_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedCSV):
        entries_of_csv("partner", body)


def test_rows_of_json_that_cannot_be_read_say_why() -> None:
    unreadable: dict[str, Any] = {"slug": "a", "name": 1, "labels": {"zh-Hant": "核數師"}, "colour": "red"}
    body: dict[str, Any] = {"entries": [unreadable, [], {"name": "B", "available": False}]}
    first, second, third = entries_of_json(msgspec.json.encode(body), now)
    assert (first.slug, wrong(first.wrong)) == ("a", {"/name": "type", "/labels/zh-Hant": "type", "/colour": "unknown"})
    assert wrong(second.wrong) == {"": "type"}
    assert (third.number, third.values.name, third.values.available, wrong(third.wrong)) == (3, "B", False, {"/slug": "missing"})


def test_a_file_with_too_much_wrong_is_not_read_to_the_end_word_by_word() -> None:
    body = {"entries": [{"slug": "a", **dict.fromkeys("bcdefghijk", 1)}] * 150 + [{"slug": "a", "name": "A"}]}
    rows = entries_of_json(msgspec.json.encode(body), now)
    assert [len(row.wrong) for row in rows] == [10] * 100 + [1] * 50 + [0]
    assert rows[-1].values.name == "A"


def test_roles_of_json_have_the_industry_of_their_file_unless_they_name_one() -> None:
    body = {
        "version": 3,
        "industry": "banking_finance",
        "roles": [{"slug": "a"}, {"slug": "b", "industry": "real_estate", "keywords": ["x", 1]}],
    }
    first, second = roles_of_json(msgspec.json.encode(body), now)
    assert (first.values.industry, second.values.industry) == ("banking_finance", "real_estate")
    assert wrong(second.wrong) == {"/keywords/1": "type"}


WRONG_FILES: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"rows": []}, {"/entries": "missing", "/rows": "unknown"}),
    ({"entries": {}}, {"/entries": "type"}),
    ({"entries": [{"slug": "a", "name": "a\0"}]}, {"/entries/0/name": "not_allowed"}),
    ({"entries": [{}] * (ROWS_MOST + 1)}, {"/rows": "too_long"}),
]


@pytest.mark.parametrize(("body", "errors"), WRONG_FILES)
def test_a_wrong_json_file_is_refused(body: Any, errors: dict[str, str]) -> None:
    with pytest.raises(Invalid) as refused:
        entries_of_json(msgspec.json.encode(body), now)
    assert wrong(refused.value.errors) == errors


def test_too_many_rows_of_csv_are_refused() -> None:
    with pytest.raises(Invalid) as refused:
        roles_of_csv(b"slug\n" + b"a\n" * (ROWS_MOST + 1))
    assert wrong(refused.value.errors) == {"/rows": "too_long"}


def test_what_is_no_json_is_malformed() -> None:
    for body in (b"", b"{", b"slug,name", b"\xff"):
        with pytest.raises(MalformedJSON):
            entries_of_json(body, now)
