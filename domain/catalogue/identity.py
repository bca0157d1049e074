"""What an entry of the catalogue is called: its id is made of its kind and its slug, and so is the same in every installation."""

import re
from typing import Literal, get_args
from uuid import NAMESPACE_URL, UUID, uuid5

Kind = Literal["language", "industry", "hierarchy_level", "role", "partner", "situation"]
EntryKind = Literal["language", "industry", "hierarchy_level", "partner", "situation"]
"""Those whose entries are alike; a role is more."""
KINDS: tuple[Kind, ...] = get_args(Kind)
NAMESPACE = uuid5(NAMESPACE_URL, "https://fluentpro.app/catalogue")

SLUG = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
LANGUAGE_TAG = re.compile(r"[a-z]{2,3}(?:-[A-Z][a-z]{3})?(?:-(?:[A-Z]{2}|[0-9]{3}))?")


def entry_id(kind: Kind, slug: str) -> UUID:
    return uuid5(NAMESPACE, f"{kind}/{slug}")


def is_slug(kind: Kind, text: str) -> bool:
    """A language's slug is its BCP 47 tag (RFC 5646) in its usual case: `pt-BR`, `zh-Hant`."""
    return (LANGUAGE_TAG if kind == "language" else SLUG).fullmatch(text) is not None


def same_slug(kind: Kind, text: str) -> str:
    """The slug that somebody means, for comparison without regard to case; older clients write `senior-management`."""
    return text.strip().lower() if kind == "language" else text.strip().lower().replace("-", "_")


def identity_of(kind: Kind, ref: str) -> UUID:
    """The id that an id or a slug in any case means, whether or not there is such an entry."""
    try:
        return UUID(ref.strip())
    except ValueError:
        return entry_id(kind, _usual_case(ref.strip()) if kind == "language" else same_slug(kind, ref))


def _usual_case(tag: str) -> str:
    """RFC 5646, 2.1.1: the language in lower case, a script with a capital, a region in capitals."""
    language, *rest = tag.split("-")
    return "-".join([language.lower(), *(part.upper() if len(part) == len("GB") else part.title() for part in rest)])
