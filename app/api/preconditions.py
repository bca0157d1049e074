"""Entity tags: the version of an aggregate, or the digest of a document, in quotes (RFC 9110, 8.8.3)."""

import re

from domain.errors import FieldError, Invalid

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')

_DIGITS = 9


def etag_of(version: int | str) -> str:
    return f'"{version}"'


def expected_versions(if_match: str) -> tuple[int, ...] | None:
    """The versions that `If-Match` names; None for `*`. A weak or foreign tag is none of ours. Raises `Invalid` for what is not a list."""
    if if_match.strip() == "*":
        return None
    return tuple(
        int(tag) for weak, tag in _tags("If-Match", if_match) if not weak and tag.isascii() and tag.isdigit() and len(tag) <= _DIGITS
    )


def is_known(if_none_match: str | None, version: int | str) -> bool:
    """Whether the client has this version already (weak comparison)."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or any(tag == str(version) for _, tag in _tags("If-None-Match", if_none_match))


def _tags(header: str, value: str) -> list[tuple[str, str]]:
    parts = [part.strip() for part in value.split(",") if part.strip()]
    matches = [_TAG.fullmatch(part) for part in parts]
    if not matches or None in matches:
        message = 'Send the ETag as it was received, in its quotes: "3".'
        raise Invalid(errors=(FieldError(f"/{header}", "malformed", message),))
    return [(match[1] or "", match[2]) for match in matches if match]
