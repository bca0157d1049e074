"""Roles that learners described themselves: theirs at once, everybody's once a moderator has approved them."""

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from bus.message import Command, Event, FieldError, Wire
from domain.catalogue.model import Role
from domain.errors import Conflict, Invalid, Missing, Stale
from domain.types import AccountId

SubmissionStatus = Literal["submitted", "published", "rejected"]

TITLE = (2, 100)
DESCRIPTION = (10, 1000)
PROPOSED = (10, 500)
KEYWORDS = (5, 10)
KEYWORD_LENGTH = (2, 40)
REASON = (3, 500)
MOST_LINES = 20
LINE = (2, 200)


class UnknownSubmission(Missing):
    code = "catalogue.unknown_submission"
    title = "There is no such role submission."


class AlreadyDecided(Conflict):
    code = "catalogue.submission_decided"
    title = "This role submission has been decided already. Read it again to see how."


class Submission(Struct, frozen=True, kw_only=True):
    """A role that somebody described, as moderators see it. `proposed_*` is what a language model made of it, None until it has."""

    id: UUID
    owner: AccountId
    industry: UUID
    hierarchy_level: str
    title: str
    description: str
    keywords: tuple[str, ...]
    duties: tuple[str, ...]
    aliases: tuple[str, ...]
    proposed_description: str | None
    proposed_keywords: tuple[str, ...] | None
    status: SubmissionStatus
    reason: str | None
    created_at: datetime
    decided_at: datetime | None
    version: int


class KeepCustomRole(Command[None], frozen=True, kw_only=True):
    """Take the role that this person described into the catalogue, for them alone."""

    account: AccountId
    role: UUID


class TidyRole(Command[None], frozen=True, kw_only=True):
    """Have the language model propose a description in the third person, and keywords; quiet where none is configured."""

    role: UUID


class ApproveRole(Command[Submission], frozen=True, kw_only=True):
    """For everybody in its industry. What is left out stays as the person wrote it.

    `expected` are the versions that the moderator has read, None is any: its owner may describe it anew at any time.
    """

    role: UUID
    expected: tuple[int, ...] | None = None
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    hierarchy_level: str | UnsetType = UNSET
    keywords: tuple[str, ...] | UnsetType = UNSET
    duties: tuple[str, ...] | UnsetType = UNSET
    aliases: tuple[str, ...] | UnsetType = UNSET


class RejectRole(Command[Submission], frozen=True, kw_only=True):
    """It stays its owner's."""

    role: UUID
    reason: str
    expected: tuple[int, ...] | None = None


class RoleSubmitted(Event, frozen=True, kw_only=True):
    """Also when its owner described it anew."""

    wire: ClassVar[Wire] = Wire(name="catalogue.role_submitted", key="role", subject="account")
    account: AccountId
    role: UUID
    industry: UUID


class RoleTidied(Event, frozen=True, kw_only=True):
    """There is a proposal; the role itself is as it was. `model` made it."""

    wire: ClassVar[Wire] = Wire(name="catalogue.role_tidied", key="role", subject="account")
    account: AccountId
    role: UUID
    model: str


class RoleApproved(Event, frozen=True, kw_only=True):
    """`fields` are the names of what the moderator wrote anew."""

    wire: ClassVar[Wire] = Wire(name="catalogue.role_approved", key="role", subject="account", seen=True)
    account: AccountId
    role: UUID
    industry: UUID
    fields: tuple[str, ...]


class RoleRejected(Event, frozen=True, kw_only=True):
    wire: ClassVar[Wire] = Wire(name="catalogue.role_rejected", key="role", subject="account", seen=True)
    account: AccountId
    role: UUID


class Proposal(Struct, frozen=True, kw_only=True):
    """What a language model made of a description; see `proposal_problems`."""

    description: str
    keywords: tuple[str, ...]


def proposal_problems(proposal: Proposal) -> list[FieldError]:
    """Why an answer of a language model is of no use; empty when it may be proposed."""
    return _text_problem("description", proposal.description, PROPOSED) + _keyword_problems(proposal.keywords)


def approval_problems(values: Mapping[str, object]) -> list[FieldError]:
    """What is wrong with the moderator's wording, field by field; fields that are unset are fine."""
    problems: list[FieldError] = []
    for field, length in {"title": TITLE, "description": DESCRIPTION}.items():
        if isinstance(value := values.get(field), str):
            problems += _text_problem(field, value, length)
    if isinstance(keywords := values.get("keywords"), list | tuple):
        problems += _keyword_problems([str(keyword) for keyword in keywords])  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - of what was decoded
    for field in ("duties", "aliases"):
        if isinstance(lines := values.get(field), list | tuple):
            problems += _line_problems(field, [str(line) for line in lines])  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - the same
    return problems


def rejection_problems(values: Mapping[str, object]) -> list[FieldError]:
    return _text_problem("reason", value, REASON) if isinstance(value := values.get("reason"), str) else []


def submit(
    found: Role | None,
    role: UUID,
    *,
    owner: AccountId,
    industry: UUID,
    title: str,
    description: str,
    hierarchy_level: str,
    now: datetime,
) -> tuple[Role | None, tuple[Event, ...]]:
    """A new role to add, or None with the `found` one changed. Quiet when nothing changed, and for one that is everybody's by now."""
    submitted = RoleSubmitted(account=owner, role=role, industry=industry)
    if found is None:
        return (
            Role(
                id=role,
                slug=None,
                industry=industry,
                hierarchy_level=hierarchy_level,
                title=_line(title),
                description=description.strip(),
                owner=owner,
                status="submitted",
                created_at=now,
                updated_at=now,
            ),
            (submitted,),
        )
    wanted = (_line(title), description.strip(), hierarchy_level)
    if found.status == "published" or wanted == (found.title, found.description, found.hierarchy_level):
        return None, ()
    found.title, found.description, found.hierarchy_level = wanted
    found.status, found.reason, found.decided_at = "submitted", None, None
    found.proposed_description, found.proposed_keywords = None, None
    found.updated_at = now
    return None, (submitted,)


def propose(role: Role, proposal: Proposal, *, model: str, now: datetime) -> tuple[Event, ...]:
    """Quiet for a role that was decided meanwhile."""
    if role.owner is None or role.status != "submitted":
        return ()
    role.proposed_description = proposal.description.strip()
    role.proposed_keywords = tuple(_line(keyword).casefold() for keyword in proposal.keywords)
    role.updated_at = now
    return (RoleTidied(account=AccountId(role.owner), role=role.id, model=model),)


def approve(role: Role, wording: ApproveRole, *, now: datetime) -> tuple[Event, ...]:
    """Raises `Invalid`, `AlreadyDecided` and `Stale`."""
    values = {
        field: getattr(wording, field)
        for field in ("title", "description", "hierarchy_level", "keywords", "duties", "aliases")
        if getattr(wording, field) is not UNSET
    }
    if problems := approval_problems(values):
        raise Invalid(errors=tuple(problems))
    owner = _undecided(role, wording.expected)
    tidied = {field: _line(value) if isinstance(value, str) else tuple(map(_line, value)) for field, value in values.items()}
    fields = tuple(field for field, value in tidied.items() if value != getattr(role, field))
    for field in fields:
        setattr(role, field, tidied[field])
    role.status, role.decided_at, role.updated_at = "published", now, now
    return (RoleApproved(account=owner, role=role.id, industry=role.industry, fields=fields),)


def reject(role: Role, reason: str, *, expected: tuple[int, ...] | None = None, now: datetime) -> tuple[Event, ...]:
    """Raises `Invalid`, `AlreadyDecided` and `Stale`."""
    if problems := rejection_problems({"reason": reason}):
        raise Invalid(errors=tuple(problems))
    owner = _undecided(role, expected)
    role.status, role.reason, role.decided_at, role.updated_at = "rejected", reason.strip(), now, now
    return (RoleRejected(account=owner, role=role.id),)


def submission_of(role: Role) -> Submission:
    """Raises `UnknownSubmission` for a role of the catalogue's own."""
    if role.owner is None:
        raise UnknownSubmission
    return Submission(
        id=role.id,
        owner=AccountId(role.owner),
        industry=role.industry,
        hierarchy_level=role.hierarchy_level,
        title=role.title,
        description=role.description,
        keywords=role.keywords,
        duties=role.duties,
        aliases=role.aliases,
        proposed_description=role.proposed_description,
        proposed_keywords=role.proposed_keywords,
        status=role.status,
        reason=role.reason,
        created_at=role.created_at,
        decided_at=role.decided_at,
        version=role.version,
    )


def _undecided(role: Role, expected: tuple[int, ...] | None) -> AccountId:
    if role.owner is None:
        raise UnknownSubmission
    if role.status != "submitted":
        raise AlreadyDecided
    if expected is not None and role.version not in expected:
        raise Stale
    return AccountId(role.owner)


def _line(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _text_problem(field: str, text: str, length: tuple[int, int], code: str = "length") -> list[FieldError]:
    least, most = length
    if any(unicodedata.category(letter) == "Cc" and letter not in "\n\t\r" for letter in text):
        return [FieldError(f"/{field}", "not_allowed", "Leave out control characters.")]
    return [] if least <= len(text.strip()) <= most else [FieldError(f"/{field}", code, f"Write {least} to {most} characters.")]


def _keyword_problems(keywords: Sequence[str]) -> list[FieldError]:
    least, most = KEYWORDS
    problems = _each_problem("keywords", keywords, KEYWORD_LENGTH)
    if not least <= len(keywords) <= most:
        problems.append(FieldError("/keywords", "length", f"Give {least} to {most} keywords."))
    if len({_line(keyword).casefold() for keyword in keywords}) < len(keywords):
        problems.append(FieldError("/keywords", "duplicate", "Name each keyword once."))
    return problems


def _line_problems(field: str, lines: Sequence[str]) -> list[FieldError]:
    problems = _each_problem(field, lines, LINE)
    if len(lines) > MOST_LINES:
        problems.append(FieldError(f"/{field}", "length", f"Give {MOST_LINES} at most."))
    return problems


def _each_problem(field: str, lines: Sequence[str], length: tuple[int, int]) -> list[FieldError]:
    return [problem for number, line in enumerate(lines) for problem in _text_problem(f"{field}/{number}", line, length)]
