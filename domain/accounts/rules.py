"""What an account may be made of: each rule normalises one field or says what to change in it."""

import re
import unicodedata
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from functools import cache
from threading import Lock
from typing import Final, TypeVar

import idna
from zxcvbn import zxcvbn
from zxcvbn.matching import L33T_TABLE

from bus.message import FieldError
from domain.types import Secret

V = TypeVar("V")

FIRST_BIRTHDAY: Final = date(1901, 1, 1)  # "Born after 1900" is taken by the word: the year 1900 itself is out.
LEAST_AGE: Final = 13
DEFAULT_TIMEZONE: Final = "UTC"

# RFC 5321: a local part of at most 64 octets, a path of 256 with its angle brackets.
_LOCAL_PART: Final = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LOCAL_PART_MOST: Final = 64
_EMAIL_MOST: Final = 254

# No character of Unicode decomposes canonically into more, so longer text than so many times a limit is beyond it in NFC too.
# It is refused, or cut, before it is normalised: that takes quadratic time for text made of marks.
_DECOMPOSED_MOST: Final = 4

_NAME_LEAST: Final = 2
_NAME_MOST: Final = 100
# Joiners carry meaning inside words of Persian and of Indic scripts; every other invisible character only serves to deceive.
_JOINERS: Final = "\u200c\u200d"
_REFUSED_IN_NAMES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

# RFC 5646, `langtag`. Its languages of 4 to 8 letters are left out: none was ever registered, and "english" would be one.
_LANGUAGE_TAG: Final = re.compile(
    r"[a-z]{2,3}(-[a-z]{3}){0,3}"
    r"(-[a-z]{4})?"
    r"(-([a-z]{2}|[0-9]{3}))?"
    r"(-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*"
    r"(-[0-9a-wyz](-[a-z0-9]{2,8})+)*"
    r"(-x(-[a-z0-9]{1,8})+)?"
)
_LANGUAGE_TAG_MOST: Final = 35  # The length that RFC 5646, 4.4.1 asks everybody to have room for.
_SCRIPT_LENGTH: Final = 4
_REGION_LENGTH: Final = 2
# The machine's own zone and the marker of an unset one are names on disk, but not of places.
_NOT_PLACES: Final = frozenset({"localtime", "Factory"})

_PASSWORD_LEAST: Final = 8
_PASSWORD_MOST: Final = 128
_SCORE_LEAST: Final = 3
_RATED_MOST: Final = 72  # zxcvbn refuses more.
_READINGS_MOST: Final = 128
_OWN_WORD_LEAST: Final = 3
# zxcvbn keeps the words of a call in a global; two calls at once would read each other's.
_zxcvbn_lock: Final = Lock()


class BrokenRule(ValueError):
    """A value that cannot be accepted; the text says what to change."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def normalise_email(text: str) -> str:
    """The one spelling of an address, by which accounts are told apart: trimmed, lower-case, its domain in ASCII (IDNA 2008, UTS #46).

    Raises `BrokenRule`. Lower-casing the local part departs from RFC 5321 knowingly: two people never differ by case alone.
    """
    address = text.strip()
    if len(address) > _EMAIL_MOST:
        raise BrokenRule("accounts.email_malformed", f"Use an e-mail address of at most {_EMAIL_MOST} characters.")
    local, at, domain = address.rpartition("@")
    if not at:
        raise BrokenRule("accounts.email_malformed", "Write the e-mail address with an @, like name@example.com.")
    local = local.lower() if local.isascii() else ""
    if len(local) > _LOCAL_PART_MOST or not _LOCAL_PART.fullmatch(local):
        raise BrokenRule(
            "accounts.email_malformed",
            f"Before the @, use 1 to {_LOCAL_PART_MOST} ASCII letters, digits and !#$%&'*+/=?^_`{{|}}~-, with single dots between them.",
        )
    try:
        host = idna.encode(domain, uts46=True).decode("ascii").lower()
    except idna.IDNAError as problem:
        raise BrokenRule("accounts.email_malformed", "After the @, use the name of a domain, like example.com.") from problem
    parent, dot, last = host.rpartition(".")
    if not (parent and dot and last) or last.isdigit():
        raise BrokenRule("accounts.email_malformed", "After the @, use a full domain name with a dot, like example.com.")
    if len(local) + 1 + len(host) > _EMAIL_MOST:
        raise BrokenRule("accounts.email_malformed", f"Use an e-mail address of at most {_EMAIL_MOST} characters.")
    return f"{local}@{host}"


def normalise_full_name(text: str) -> str:
    """The name trimmed and in NFC, of any script. Raises `BrokenRule`.

    Unassigned characters are refused because a later Unicode version may normalise them differently.
    """
    typed = text.strip()
    name = unicodedata.normalize("NFC", typed[: _NAME_MOST * _DECOMPOSED_MOST + 1])
    if len(name) < _NAME_LEAST:
        raise BrokenRule("accounts.full_name_too_short", f"Use a name of at least {_NAME_LEAST} characters.")
    if len(name) > _NAME_MOST:
        raise BrokenRule("accounts.full_name_too_long", f"Use a name of at most {_NAME_MOST} characters.")
    for index, character in enumerate(name):
        joins = character in _JOINERS and 0 < index < len(name) - 1
        if unicodedata.category(character) in _REFUSED_IN_NAMES and not joins:
            raise BrokenRule(
                "accounts.full_name_character", f"Remove the character U+{ord(character):04X} at position {index + 1} from the name."
            )
    if not any(character.isalpha() for character in name):
        raise BrokenRule("accounts.full_name_without_letters", "Use a name with at least one letter.")
    return name


def check_date_of_birth(born: date, today: date) -> date:
    """Raises `BrokenRule`. Who was born on 29 February comes of age on 1 March in common years."""
    if born < FIRST_BIRTHDAY:
        raise BrokenRule("accounts.born_too_early", f"Use a date of birth from {FIRST_BIRTHDAY.isoformat()} on.")
    age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    if age < LEAST_AGE:
        raise BrokenRule("accounts.too_young", f"You must be at least {LEAST_AGE} years old.")
    return born


def check_terms(accepted: bool) -> bool:  # noqa: FBT001 - it is a field's value, not an option of the call
    """Raises `BrokenRule`."""
    if not accepted:
        raise BrokenRule("accounts.terms_not_accepted", "Accept the terms to register.")
    return accepted


def normalise_locale(text: str) -> str:
    """A well-formed language tag in the casing of RFC 5646, 2.1.1. Raises `BrokenRule`."""
    tag = text.strip()
    tag = tag.lower() if tag.isascii() else ""
    if len(tag) > _LANGUAGE_TAG_MOST or not _LANGUAGE_TAG.fullmatch(tag):
        raise BrokenRule("accounts.locale_malformed", "Use a BCP 47 language tag with hyphens, like en or pt-BR.")
    language, *rest = tag.split("-")
    written = [language]
    for position, subtag in enumerate(rest):
        if len(subtag) == 1:
            return "-".join([*written, *rest[position:]])
        if len(subtag) == _SCRIPT_LENGTH and subtag.isalpha():
            written.append(subtag.title())
        else:
            written.append(subtag.upper() if len(subtag) == _REGION_LENGTH else subtag)
    return "-".join(written)


@cache
def _timezones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones()) - _NOT_PLACES


def normalise_timezone(text: str) -> str:
    """A name of the IANA time zone database. Raises `BrokenRule`."""
    name = text.strip()
    if name not in _timezones():
        raise BrokenRule("accounts.timezone_unknown", "Use a name of the IANA time zone database, like UTC or America/Sao_Paulo.")
    return name


def normalise_password(text: str) -> str:
    """What is rated and hashed: NFKC, as NIST SP 800-63B asks, so that the same password typed on another keyboard is the same.

    Text that is far too long for a password is cut; whoever takes a new password calls `check_password` first.
    """
    return unicodedata.normalize("NFKC", text[: _PASSWORD_MOST * _DECOMPOSED_MOST + 1])


def check_password(text: str, own_words: Iterable[str] = ()) -> None:
    """Raises `BrokenRule`. Computes for up to a second: not for an event loop.

    Characters are counted as NFC leaves them; NFKC can make eighteen of one.
    """
    length = len(unicodedata.normalize("NFC", text[: _PASSWORD_MOST * _DECOMPOSED_MOST + 1]))
    if length < _PASSWORD_LEAST:
        raise BrokenRule("accounts.password_too_short", f"Use a password of at least {_PASSWORD_LEAST} characters.")
    if length > _PASSWORD_MOST:
        raise BrokenRule("accounts.password_too_long", f"Use a password of at most {_PASSWORD_MOST} characters.")
    with _zxcvbn_lock:
        rating = zxcvbn(_rated_part(normalise_password(text)), user_inputs=["fluentpro", *own_words])
    if rating["score"] < _SCORE_LEAST:
        raise BrokenRule(
            "accounts.password_guessable",
            "Use a password that is harder to guess: several uncommon words, without your name or address, do well.",
        )


def _rated_part(password: str) -> str:
    """The longest beginning that zxcvbn rates in bounded time: at most 72 characters, and 128 readings of its l33t symbols.

    zxcvbn tries every reading: 576 for text made to have them, which is seconds of work. Eleven different symbols are the fewest
    that have more than 128, and the ten that are left make a score of 3 by themselves, so what is cut off never decides.
    """
    part = password[:_RATED_MOST]
    while _readings(part) > _READINGS_MOST:
        part = part[:-1]
    return part


def _readings(text: str) -> int:
    readings = 1
    for symbols in L33T_TABLE.values():
        readings *= max(1, sum(symbol in text for symbol in symbols))
    return readings


def own_words(email: str, full_name: str) -> list[str]:
    """What a password must not be made of: address, name, their parts, and the parts put together in the usual ways.

    The last matter because zxcvbn takes two known words beside each other for much harder to guess than one.
    """
    address = email[:_EMAIL_MOST]
    words: list[str] = []
    for text in (address, *address.split("@"), full_name[:_NAME_MOST]):
        whole = normalise_password(text).strip().lower()
        parts = re.findall(r"[^\W_]+", whole)
        words += [whole, *parts]
        words += [joint.join(order) for joint in ("", " ", ".", "-", "_") for order in (parts, parts[::-1])]
    return [word for word in dict.fromkeys(words) if len(word) >= _OWN_WORD_LEAST]


def registration_problems(values: Mapping[str, object], now: datetime) -> list[FieldError]:
    """Every broken rule of a registration at once. Missing fields and those of another type are left to whoever decodes.

    Computes for up to a second when there is a password: not for an event loop.
    """
    problems: list[FieldError] = []
    email, password, full_name = values.get("email"), values.get("password"), values.get("full_name")
    if isinstance(email, str):
        problems += _broken("email", normalise_email, email)
    if isinstance(password, Secret):
        password = password.reveal()
    if isinstance(password, str):
        words = own_words(email if isinstance(email, str) else "", full_name if isinstance(full_name, str) else "")
        problems += _broken("password", lambda text: check_password(text, words), password)
    born = values.get("date_of_birth")
    if isinstance(born, date) and not isinstance(born, datetime):
        problems += _broken("date_of_birth", lambda day: check_date_of_birth(day, now.date()), born)
    accepted = values.get("accept_terms")
    if isinstance(accepted, bool):
        problems += _broken("accept_terms", check_terms, accepted)
    return problems + profile_problems(values)


def profile_problems(values: Mapping[str, object]) -> list[FieldError]:
    """Every broken rule of what a person may change, at once. Missing fields and those of another type are left to whoever decodes."""
    problems: list[FieldError] = []
    for field, rule in (("full_name", normalise_full_name), ("locale", normalise_locale), ("timezone", normalise_timezone)):
        value = values.get(field)
        if isinstance(value, str):
            problems += _broken(field, rule, value)
    return problems


def _broken(field: str, rule: Callable[[V], object], value: V) -> list[FieldError]:
    try:
        rule(value)
    except BrokenRule as broken:
        return [FieldError(f"/{field}", broken.code, str(broken))]
    return []
