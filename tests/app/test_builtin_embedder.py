"""The embedder that needs nobody: what it knows, it knows from the seeds."""

import math

import pytest

from app.ports.builtin_embedder import BuiltInEmbedder, SeedRole, seed_roles
from app.ports.embedder import Embedders
from handlers.ports import UnknownModel
from tests.roles import ScriptedEmbedder

ROLES = (
    SeedRole(industry="banking", title="Relationship Manager", aliases=("RM",), keywords=("corporate banking", "cross-selling")),
    SeedRole(industry="banking", title="Bank Teller", aliases=("Cashier",), keywords=("cash counter", "withdrawals")),
    SeedRole(industry="hotels", title="Front Desk Agent", aliases=("Receptionist", "Rezeptionist"), keywords=("check-in", "room key")),
)


@pytest.fixture
def embedder() -> BuiltInEmbedder:
    return BuiltInEmbedder(ROLES)


def nearest(embedder: BuiltInEmbedder, text: str) -> str:
    asked = embedder.vector(text)
    return max(ROLES, key=lambda role: sum(map(float.__mul__, asked, embedder.vector("\n".join((role.title, *role.keywords)))))).title


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("RM\nlook after company clients", "Relationship Manager"),
        ("relatonship manger", "Relationship Manager"),
        ("Relationship Management", "Relationship Manager"),
        ("Rezeptionistin", "Front Desk Agent"),
        ("staff\nI give room keys at check in", "Front Desk Agent"),
        ("casheir\ncounting", "Bank Teller"),
    ],
)
def test_typos_inflections_and_listed_synonyms_are_understood(embedder: BuiltInEmbedder, text: str, title: str) -> None:
    assert nearest(embedder, text) == title


@pytest.mark.parametrize("text", ["", "\n", "???", "的", "a", "\x00", "the of and", "x" * 5000, "🙂 🙃"])
def test_whatever_is_asked_has_a_direction(embedder: BuiltInEmbedder, text: str) -> None:
    vector = embedder.vector(text)
    assert all(map(math.isfinite, vector))
    assert math.hypot(*vector) == pytest.approx(1)


def test_the_same_text_has_the_same_vector_in_every_process(embedder: BuiltInEmbedder) -> None:
    assert BuiltInEmbedder(ROLES).vector("Bank Teller\ncash") == embedder.vector("Bank Teller\ncash")


def test_other_seeds_are_another_model(embedder: BuiltInEmbedder) -> None:
    assert BuiltInEmbedder(ROLES).model == embedder.model
    assert BuiltInEmbedder(ROLES[:2]).model != embedder.model


def test_without_seeds_there_are_vectors_all_the_same() -> None:
    assert math.hypot(*BuiltInEmbedder(()).vector("Bank Teller")) == pytest.approx(1)


async def test_vectors_of_other_seeds_cannot_be_made(embedder: BuiltInEmbedder) -> None:
    assert len(await embedder.embed(["one", "two"], model=embedder.model)) == 2
    with pytest.raises(UnknownModel):
        await embedder.embed(["one"], model="builtin-1-other")


async def test_what_is_configured_makes_the_vectors_and_the_built_in_those_of_before(embedder: BuiltInEmbedder) -> None:
    configured = ScriptedEmbedder("small")
    both = Embedders(configured, embedder)
    assert both.model == "small"
    assert await both.embed(["one"], model=embedder.model) == [embedder.vector("one")]
    await both.embed(["two"], model="small")
    assert configured.asked == [("small", ("two",))]


def test_the_seeds_of_this_build_are_all_there() -> None:
    roles = seed_roles()
    assert len(roles) >= 60
    assert len({role.industry for role in roles}) == 4
