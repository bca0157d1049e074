"""What the entries of the catalogue are called, what they must be like, and what happens when they change."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalogue.events import EntryChanged, EntryRetired
from domain.catalogue.identity import KINDS, Kind, entry_id, identity_of, is_slug, same_slug
from domain.catalogue.model import Entry, Role
from domain.catalogue.rules import entry_problems, role_problems, tidy

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
INDUSTRIES, LEVELS = {"real_estate", "banking_finance"}, {"manager", "associate"}


def entry(**changes: Any) -> dict[str, Any]:
    return {"slug": "clients", "name": "Clients", "description": "Who pays.", "icon": "users", "labels": {}, **changes}


def language(**changes: Any) -> dict[str, Any]:
    return {"slug": "pt-BR", "name": "Portuguese", "autonym": "português", "direction": "ltr", "labels": {}, **changes}


def role(**changes: Any) -> dict[str, Any]:
    return {
        "slug": "relationship_manager",
        "industry": "banking_finance",
        "hierarchy_level": "manager",
        "title": "Relationship Manager",
        "description": "Looks after corporate clients.",
        "keywords": ["client portfolio", "lending", "deposits", "trade", "coverage"],
        "duties": ["manage a portfolio"],
        "aliases": ["Client Manager"],
        "labels": {},
        **changes,
    }


def wrong_entry(kind: Kind = "partner", **changes: Any) -> dict[str, str]:
    values = language(**changes) if kind == "language" else entry(**changes)
    return {found.field: found.code for found in entry_problems(kind, values)}


def wrong_role(**changes: Any) -> dict[str, str]:
    return {found.field: found.code for found in role_problems(role(**changes), industries=INDUSTRIES, levels=LEVELS)}


def stored_entry() -> Entry:
    return Entry(
        id=entry_id("partner", "clients"),
        kind="partner",
        slug="clients",
        name="Clients",
        description="Who pays.",
        created_at=NOW,
        updated_at=NOW,
    )


def stored_role() -> Role:
    return Role(
        id=entry_id("role", "banker"),
        slug="banker",
        industry=entry_id("industry", "banking_finance"),
        hierarchy_level="manager",
        title="Banker",
        description="Lends money.",
        created_at=NOW,
        updated_at=NOW,
    )


def test_ids_are_the_same_everywhere() -> None:
    assert entry_id("industry", "banking_finance") == UUID("79bca22d-b99a-5901-ace5-e8c461ff4663")
    assert len({entry_id(kind, "manager") for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("slug", ["clients", "one_on_ones", "b2b", "24_7"])
def test_a_slug_is_lower_case_words_joined_by_underscores(slug: str) -> None:
    assert is_slug("partner", slug)


@pytest.mark.parametrize("slug", ["", "Clients", "one-on-ones", "_clients", "clients_", "one__on", "clients\n", "größe", "a b"])
def test_anything_else_is_no_slug(slug: str) -> None:
    assert not is_slug("partner", slug)


@pytest.mark.parametrize("tag", ["en", "yue", "zh-Hant", "pt-BR", "es-419"])
def test_the_slug_of_a_language_is_its_tag(tag: str) -> None:
    assert is_slug("language", tag)


@pytest.mark.parametrize("tag", ["EN", "zh-hant", "pt_BR", "pt-br", "english", "e", "en-", "en\n", "zh-Hant-Hant"])
def test_a_tag_in_another_case_or_form_is_none(tag: str) -> None:
    assert not is_slug("language", tag)


@pytest.mark.parametrize(
    ("kind", "ref", "slug"),
    [
        ("partner", "senior-management", "senior_management"),
        ("partner", " Senior_Management ", "senior_management"),
        ("language", "ZH-hant", "zh-Hant"),
        ("language", "PT-br", "pt-BR"),
        ("language", "EN", "en"),
    ],
)
def test_a_slug_is_meant_in_any_case(kind: Kind, ref: str, slug: str) -> None:
    assert same_slug(kind, ref) == slug.lower()
    assert identity_of(kind, ref) == entry_id(kind, slug)
    assert identity_of(kind, str(entry_id(kind, slug)).upper()) == entry_id(kind, slug)


def test_good_entries_and_roles_have_no_problems() -> None:
    assert wrong_entry() == wrong_entry("language") == wrong_role() == {}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"slug": "Senior Clients"}, {"/slug": "malformed"}),
        ({"slug": "x" * 65}, {"/slug": "malformed"}),
        ({"name": ""}, {"/name": "length"}),
        ({"name": "   "}, {"/name": "length"}),
        ({"name": "x" * 101}, {"/name": "length"}),
        ({"name": "two\nlines"}, {"/name": "not_allowed"}),
        ({"name": "a\0b"}, {"/name": "not_allowed"}),
        ({"name": "\ud800"}, {"/name": "not_allowed"}),
        ({"description": "x" * 1001, "icon": ""}, {"/description": "length", "/icon": "length"}),
        ({"autonym": "Clients", "direction": "ltr"}, {"/autonym": "not_allowed", "/direction": "not_allowed"}),
        ({"labels": {"Chinese": {"name": "x"}}}, {"/labels/Chinese": "malformed"}),
        ({"labels": {"a/b~c": {}}}, {"/labels/a~1b~0c": "malformed"}),
        ({"labels": {"zh-Hant": {"title": "x"}}}, {"/labels/zh-Hant/title": "unknown"}),
        ({"labels": {"zh-Hant": {"name": "", "description": "x" * 1001}}}, {
            "/labels/zh-Hant/name": "length",
            "/labels/zh-Hant/description": "length",
        }),
    ],
)  # fmt: skip
def test_every_wrong_field_of_an_entry_is_named(changes: dict[str, Any], expected: dict[str, str]) -> None:
    assert wrong_entry(**changes) == expected


def test_a_language_needs_its_own_name_and_a_direction() -> None:
    assert wrong_entry("language", autonym=None, direction=None) == {"/autonym": "missing", "/direction": "missing"}
    assert wrong_entry("language", direction="up") == {"/direction": "not_allowed"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"keywords": ["one", "two", "three", "one"]}, {"/keywords": "length", "/keywords/3": "duplicate"}),
        ({"keywords": [f"word {n}" for n in range(11)]}, {"/keywords": "length"}),
        ({"keywords": ["Lending", "LENDING ", "a", "b", "c"]}, {"/keywords/1": "duplicate"}),
        ({"keywords": ["", "x" * 201, "two\nlines", "b", "c"]}, {
            "/keywords/0": "length",
            "/keywords/1": "length",
            "/keywords/2": "not_allowed",
        }),
        ({"duties": [f"duty {n}" for n in range(21)]}, {"/duties": "length"}),
        ({"aliases": [f"name {n}" for n in range(21)]}, {"/aliases": "length"}),
        ({"industry": "astrology", "hierarchy_level": "deity"}, {"/industry": "unknown", "/hierarchy_level": "unknown"}),
        ({"title": "x", "description": "too short"}, {"/title": "length", "/description": "length"}),
    ],
)  # fmt: skip
def test_every_wrong_field_of_a_role_is_named(changes: dict[str, Any], expected: dict[str, str]) -> None:
    assert wrong_role(**changes) == expected


def test_an_unknown_industry_is_answered_with_those_there_are() -> None:
    [problem] = role_problems(role(industry="astrology"), industries=INDUSTRIES, levels=LEVELS)
    assert problem.message == "Send one of banking_finance, real_estate."


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(values=st.dictionaries(st.sampled_from(sorted({*entry(), *language(), *role()})), json_values))
def test_values_of_any_type_are_judged_without_an_error(values: dict[str, Any]) -> None:
    for kind in KINDS:
        entry_problems(kind, values)
    role_problems(values, industries=INDUSTRIES, levels=LEVELS)


@given(text=st.text(max_size=120), lines=st.lists(st.text(max_size=20), max_size=3))
def test_what_is_tidy_stays_as_it_is(text: str, lines: list[str]) -> None:
    once = tidy({"name": text, "keywords": lines, "labels": {"zh-Hant": {"name": text}}})
    assert tidy(once) == once
    assert isinstance(once["keywords"], tuple)


def test_texts_are_kept_composed_and_trimmed() -> None:
    kept = tidy({"name": " Cafe\u0301 ", "labels": {"fr": {"name": " e\u0301 "}}, "icon": None})
    assert kept == {"name": "Caf\u00e9", "labels": {"fr": {"name": "\u00e9"}}, "icon": None}


@pytest.mark.parametrize("offered", [stored_entry, stored_role])
def test_a_change_names_the_fields_that_differ(offered: Any) -> None:
    one = offered()
    assert one.change({"description": "Who pays us.", "position": 0}, now=LATER) == (
        EntryChanged(kind=one.sort, entry=one.id, fields=("description",)),
    )
    assert (one.description, one.updated_at, one.edited) == ("Who pays us.", LATER, True)


def test_a_change_that_changes_nothing_is_quiet() -> None:
    one = stored_entry()
    assert one.change({"name": "Clients", "labels": {}}, now=LATER) == ()
    assert (one.updated_at, one.edited) == (NOW, False)


def test_what_a_seed_changes_is_not_edited() -> None:
    one = stored_role()
    assert one.change({"title": "Senior Banker"}, now=LATER, by_seed=True)
    assert one.edited is False
    assert one.retire(now=LATER, by_seed=True)
    assert one.edited is False


def test_what_is_retired_twice_is_retired_once_and_can_be_offered_again() -> None:
    one = stored_entry()
    assert one.retire(now=LATER) == (EntryRetired(kind="partner", entry=one.id),)
    assert one.retire(now=LATER) == ()
    assert (one.available, one.edited) == (False, True)
    assert one.change({"available": True}, now=LATER) == (EntryChanged(kind="partner", entry=one.id, fields=("available",)),)
