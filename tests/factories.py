"""Commands and requests as people send them; what a test does not name is made up, and valid."""

from datetime import date
from itertools import count

from polyfactory.factories.msgspec_factory import MsgspecFactory

from app.api.accounts import SignUpRequest
from domain.accounts.commands import RegisterAccount
from domain.types import Secret

PASSWORD = "correct horse battery staple"
_people = count(1)


def new_email() -> str:
    return f"person.{next(_people)}@example.com"


class Registrations(MsgspecFactory[RegisterAccount]):
    """`Registrations.build(email=…)`."""

    email = new_email
    password = Secret(PASSWORD)
    full_name = "Ada Lovelace"
    date_of_birth = date(1990, 12, 10)
    accept_terms = True
    locale = "en"


class SignUps(MsgspecFactory[SignUpRequest]):
    """`SignUps.build(email=…)`, to be encoded as JSON."""

    email = new_email
    password = PASSWORD
    full_name = "Ada Lovelace"
    date_of_birth = date(1990, 12, 10)
    accept_terms = True
    locale = "en"
