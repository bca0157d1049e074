"""Accounts and sessions: each method does it, refuses it, stays quiet."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import msgspec
import pytest

from bus.message import Event
from domain.accounts import events
from domain.accounts.commands import CreateAdmin, RegisterAccount, SignIn
from domain.accounts.errors import BadCredentials, SessionEnded
from domain.accounts.events import AccountRegistered, AccountSignedIn, AdminGranted, ProfileChanged, SessionExpired, SignInRefused
from domain.accounts.model import TICKET_LIFETIME, Account, Session, refuse_sign_in
from domain.errors import Denied, Invalid, Stale
from domain.types import AccountId, Secret, SessionId

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
MONTH = timedelta(days=30)
ANA = AccountId(UUID(int=1))
SESSION = SessionId(UUID(int=2))


def an_account() -> Account:
    account, _ = Account.register(
        ANA,
        email=" Ana@Example.com ",
        password_hash="$argon2id$…",
        full_name=" Ana Souza",
        date_of_birth=date(1990, 5, 17),
        locale="pt-br",
        now=NOW,
    )
    return account


def test_a_registration_makes_an_account_of_normalised_values() -> None:
    account, happened = Account.register(
        ANA,
        email=" Ana@Example.com ",
        password_hash="$argon2id$…",
        full_name=" Ana Souza",
        date_of_birth=date(1990, 5, 17),
        locale="pt-br",
        now=NOW,
    )
    assert (account.id, account.email, account.full_name, account.locale) == (ANA, "ana@example.com", "Ana Souza", "pt-BR")
    assert (account.password_hash, account.timezone, account.admin, account.version) == ("$argon2id$…", "UTC", False, 1)
    assert account.created_at == account.updated_at == NOW
    assert happened == (AccountRegistered(account=ANA),)


def test_a_registration_that_breaks_rules_is_refused_with_all_of_them() -> None:
    with pytest.raises(Invalid) as refused:
        Account.register(ANA, email="ana", password_hash="", full_name="", date_of_birth=date(2020, 1, 1), locale="english", now=NOW)
    assert {error.field for error in refused.value.errors} == {"/email", "/full_name", "/date_of_birth", "/locale"}


def test_the_session_of_a_registration_is_no_fact_of_its_own() -> None:
    session = an_account().open_session(SESSION, now=NOW, lifetime=MONTH)
    assert (session.id, session.account, session.started_at, session.expires_at) == (SESSION, ANA, NOW, NOW + MONTH)
    assert session.ended_at is None


def test_a_sign_in_opens_a_session() -> None:
    session, happened = an_account().sign_in(SESSION, now=NOW, lifetime=MONTH)
    assert (session.id, session.account, session.started_at, session.expires_at) == (SESSION, ANA, NOW, NOW + MONTH)
    assert happened == (AccountSignedIn(account=ANA, session=SESSION),)


def test_a_refused_sign_in_tells_whose_it_was_and_why() -> None:
    assert refuse_sign_in(an_account(), "00ff") == (SignInRefused(account=ANA, address="00ff", reason="wrong_password"),)


def test_a_sign_in_to_an_unknown_address_concerns_nobody() -> None:
    assert refuse_sign_in(None, "00ff") == (SignInRefused(account=None, address="00ff", reason="unknown_address"),)


def test_a_profile_is_changed_in_the_fields_that_differ() -> None:
    account = an_account()
    happened = account.change_profile(expected=(7, 1), full_name="Ana  Lima ", locale="pt-BR", timezone="America/Sao_Paulo", now=LATER)
    assert (account.full_name, account.locale, account.timezone) == ("Ana  Lima", "pt-BR", "America/Sao_Paulo")
    assert (account.created_at, account.updated_at, account.version) == (NOW, LATER, 1)
    assert happened == (ProfileChanged(account=ANA, fields=("full_name", "timezone")),)


def test_a_change_of_a_version_that_is_no_more_is_refused() -> None:
    account = an_account()
    account.version = 3
    with pytest.raises(Stale):
        account.change_profile(expected=(1, 2), full_name="Ana Lima", now=LATER)
    assert (account.full_name, account.updated_at) == ("Ana Souza", NOW)


def test_a_stale_change_is_refused_even_if_nothing_would_differ() -> None:
    with pytest.raises(Stale):
        an_account().change_profile(expected=(2,), now=LATER)


def test_a_change_that_breaks_rules_is_refused_with_all_of_them_and_before_its_version() -> None:
    account = an_account()
    with pytest.raises(Invalid) as refused:
        account.change_profile(expected=(2,), full_name="", locale="english", timezone="Mars", now=LATER)
    assert [error.field for error in refused.value.errors] == ["/full_name", "/locale", "/timezone"]
    assert account.full_name == "Ana Souza"


def test_a_change_to_what_is_there_already_is_quiet() -> None:
    account = an_account()
    assert account.change_profile(expected=None, full_name=" Ana Souza ", locale="PT-BR", now=LATER) == ()
    assert account.updated_at == NOW


def test_admin_is_granted_once() -> None:
    account = an_account()
    assert account.grant_admin(now=LATER) == (AdminGranted(account=ANA),)
    assert account.admin
    assert account.updated_at == LATER


def test_admin_granted_again_is_quiet() -> None:
    account = an_account()
    account.grant_admin(now=NOW)
    assert account.grant_admin(now=LATER) == ()
    assert account.updated_at == NOW


def test_a_profile_shows_what_its_owner_may_see() -> None:
    account = an_account()
    account.version = 4
    profile = msgspec.structs.asdict(account.profile())
    assert profile == {
        "id": ANA,
        "email": "ana@example.com",
        "full_name": "Ana Souza",
        "date_of_birth": date(1990, 5, 17),
        "locale": "pt-BR",
        "timezone": "UTC",
        "created_at": NOW,
        "updated_at": NOW,
        "version": 4,
    }


def a_session() -> Session:
    return an_account().open_session(SESSION, now=NOW, lifetime=MONTH)


def test_a_session_expires_when_its_time_has_come() -> None:
    session = a_session()
    assert session.expire(NOW + MONTH) == (SessionExpired(account=ANA, session=SESSION),)
    assert session.ended_at == NOW + MONTH


def test_a_session_does_not_expire_before_its_time() -> None:
    session = a_session()
    assert session.expire(NOW + MONTH - timedelta(microseconds=1)) == ()
    assert session.ended_at is None


def test_a_session_that_has_ended_expires_quietly() -> None:
    session = a_session()
    session.ended_at = LATER
    assert session.expire(NOW + MONTH) == ()
    assert session.ended_at == LATER


EVENTS = [
    AccountRegistered(account=ANA),
    AccountSignedIn(account=ANA, session=SESSION),
    SignInRefused(account=None, address="00ff", reason="unknown_address"),
    ProfileChanged(account=ANA, fields=("locale",)),
    SessionExpired(account=ANA, session=SESSION),
    AdminGranted(account=ANA),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_the_same_after_a_journey_as_json(event: Event) -> None:
    assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event


def test_every_event_is_seen_by_its_account_except_a_refused_sign_in() -> None:
    declared = [thing for thing in vars(events).values() if isinstance(thing, type) and issubclass(thing, Event) and thing is not Event]
    assert {event.wire.name: event.wire.seen for event in declared} == {
        "accounts.registered": True,
        "accounts.signed_in": True,
        "accounts.sign_in_refused": False,
        "accounts.profile_changed": True,
        "accounts.session_expired": True,
        "accounts.admin_granted": True,
    }
    assert all(event.wire.key == event.wire.subject == "account" for event in declared)


def test_commands_do_not_show_their_passwords() -> None:
    password = Secret("letmein2")
    born = date(1990, 5, 17)
    for command in (
        RegisterAccount(email="ana@example.com", password=password, full_name="Ana", date_of_birth=born, accept_terms=True),
        SignIn(email="ana@example.com", password=password),
        CreateAdmin(email="ana@example.com", password=password, full_name="Ana", date_of_birth=born),
    ):
        assert "letmein2" not in repr(command)


def test_a_refusal_of_credentials_does_not_tell_what_was_wrong() -> None:
    assert "e-mail address and the password" in BadCredentials().detail


def test_a_ticket_opens_what_it_is_for_until_its_time_is_over() -> None:
    account = an_account()
    session = account.open_session(SESSION, now=NOW, lifetime=MONTH)
    ticket = account.issue_ticket(b"digest", session=session, purpose="websocket", now=NOW)
    assert (ticket.digest, ticket.account, ticket.session) == (b"digest", ANA, SESSION)
    assert ticket.opens("websocket", NOW + TICKET_LIFETIME - timedelta(microseconds=1))
    assert not ticket.opens("websocket", NOW + TICKET_LIFETIME)
    assert not ticket.opens("admin_jobs", NOW)


def test_only_admins_get_a_ticket_for_the_jobs() -> None:
    account = an_account()
    session = account.open_session(SESSION, now=NOW, lifetime=MONTH)
    with pytest.raises(Denied):
        account.issue_ticket(b"digest", session=session, purpose="admin_jobs", now=NOW)
    account.grant_admin(now=NOW)
    assert account.issue_ticket(b"digest", session=session, purpose="admin_jobs", now=NOW).purpose == "admin_jobs"


def test_no_ticket_is_issued_in_a_session_that_is_over_or_anothers() -> None:
    account = an_account()
    session = account.open_session(SESSION, now=NOW, lifetime=MONTH)
    with pytest.raises(SessionEnded):
        account.issue_ticket(b"digest", session=session, purpose="websocket", now=NOW + MONTH)
    session.expire(NOW + MONTH)
    with pytest.raises(SessionEnded):
        account.issue_ticket(b"digest", session=session, purpose="websocket", now=NOW)
    anothers = Session(id=SESSION, account=AccountId(UUID(int=9)), started_at=NOW, expires_at=NOW + MONTH)
    with pytest.raises(SessionEnded):
        account.issue_ticket(b"digest", session=anothers, purpose="websocket", now=NOW)
