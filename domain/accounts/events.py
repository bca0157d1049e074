"""What has happened to accounts. No personal values: ids, names of fields, and keyed fingerprints only."""

from typing import ClassVar, Literal

from bus.message import Event, Wire
from domain.types import AccountId, SessionId


class AccountRegistered(Event, frozen=True, kw_only=True):
    wire: ClassVar[Wire] = Wire(name="accounts.registered", key="account", subject="account", seen=True)
    account: AccountId


class AccountSignedIn(Event, frozen=True, kw_only=True):
    wire: ClassVar[Wire] = Wire(name="accounts.signed_in", key="account", subject="account", seen=True)
    account: AccountId
    session: SessionId


class SignInRefused(Event, frozen=True, kw_only=True):
    """`account` is None when nobody has the address. `address` is the keyed fingerprint of the normalised address, never the address."""

    wire: ClassVar[Wire] = Wire(name="accounts.sign_in_refused", key="account", subject="account")
    account: AccountId | None
    address: str
    reason: Literal["unknown_address", "wrong_password"]


class ProfileChanged(Event, frozen=True, kw_only=True):
    """`fields` are the names of what differs now, in the order of the profile."""

    wire: ClassVar[Wire] = Wire(name="accounts.profile_changed", key="account", subject="account", seen=True)
    account: AccountId
    fields: tuple[str, ...]


class SessionExpired(Event, frozen=True, kw_only=True):
    wire: ClassVar[Wire] = Wire(name="accounts.session_expired", key="account", subject="account", seen=True)
    account: AccountId
    session: SessionId


class AdminGranted(Event, frozen=True, kw_only=True):
    wire: ClassVar[Wire] = Wire(name="accounts.admin_granted", key="account", subject="account", seen=True)
    account: AccountId
