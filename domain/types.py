"""Words that every area shares."""

from typing import NewType
from uuid import UUID

from bus.message import Secret

__all__ = ["AccountId", "Secret", "SessionId"]

AccountId = NewType("AccountId", UUID)
SessionId = NewType("SessionId", UUID)
