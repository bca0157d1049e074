"""The kinds of refusal. An area declares its own errors as subclasses with a stable dotted `code`."""

from bus.message import FieldError, Refusal, TryAgain, Unavailable

__all__ = [
    "Conflict",
    "Denied",
    "DomainError",
    "FieldError",
    "Invalid",
    "Missing",
    "Spent",
    "Stale",
    "TooMany",
    "TryAgain",
    "Unavailable",
    "Unproven",
]

DomainError = Refusal


class Missing(DomainError):
    kind = "missing"
    code = "request.not_found"
    title = "There is nothing here that you may see."


class Conflict(DomainError):
    kind = "conflict"
    code = "request.conflict"
    title = "This does not fit with what is already there."


class Stale(DomainError):
    kind = "stale"
    code = "request.stale"
    title = "This has changed since you read it. Read it again, then repeat your change."


class Invalid(DomainError):
    kind = "invalid"
    code = "request.invalid"
    title = "Some of the values cannot be accepted."


class Unproven(DomainError):
    kind = "unproven"
    code = "auth.required"
    title = "Sign in first."


class Denied(DomainError):
    kind = "denied"
    code = "auth.denied"
    title = "You may not do this."


class Spent(DomainError):
    kind = "spent"
    code = "request.spent"
    title = "This was used already."


class TooMany(DomainError):
    kind = "too_many"
    code = "request.too_many"
    title = "Too many requests. Wait a little, then try again."
