"""Entries and roles. A method checks, changes, and returns what has happened."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from bus.message import Event
from domain.catalogue.commands import Labels
from domain.catalogue.events import EntryChanged, EntryRetired
from domain.catalogue.identity import Kind
from domain.types import AccountId

RoleStatus = Literal["published", "submitted", "rejected"]


@dataclass(eq=False, repr=False, kw_only=True)
class Offered(ABC):
    """What entries and roles have in common. `version` is counted by the mapper, one for every change that is stored.

    `edited` says that an admin has added or changed it, after which seed files leave it alone.
    """

    id: UUID
    description: str
    labels: Labels = field(default_factory=dict[str, dict[str, str]])
    position: int = 0
    available: bool = True
    edited: bool = False
    created_at: datetime
    updated_at: datetime
    version: int = 1

    @property
    @abstractmethod
    def sort(self) -> Kind: ...

    def change(self, values: Mapping[str, Any], *, now: datetime, by_seed: bool = False) -> tuple[Event, ...]:
        """`values` have been judged; quiet when nothing differs."""
        fields = tuple(name for name, value in values.items() if getattr(self, name) != value)
        if not fields:
            return ()
        for name in fields:
            setattr(self, name, values[name])
        self.edited = self.edited or not by_seed
        self.updated_at = now
        return (EntryChanged(kind=self.sort, entry=self.id, fields=fields),)

    def retire(self, *, now: datetime, by_seed: bool = False) -> tuple[Event, ...]:
        """Quiet when it is retired already."""
        if not self.available:
            return ()
        self.available = False
        self.edited = self.edited or not by_seed
        self.updated_at = now
        return (EntryRetired(kind=self.sort, entry=self.id),)


@dataclass(eq=False, repr=False, kw_only=True)
class Entry(Offered):
    """A language, an industry, a hierarchy level, a partner or a situation. `autonym` and `direction` are a language's."""

    kind: Kind
    slug: str
    name: str
    icon: str | None = None
    autonym: str | None = None
    direction: str | None = None

    @property
    def sort(self) -> Kind:
        return self.kind


@dataclass(eq=False, repr=False, kw_only=True)
class Role(Offered):
    """What somebody does. The catalogue's own have a slug; one that a learner described has an owner, and is seen by others once published.

    `keywords`, `duties` and `aliases` hold no line breaks. What a language model proposes for a description waits beside it for a
    moderator.
    """

    slug: str | None
    industry: UUID
    hierarchy_level: str
    title: str
    keywords: tuple[str, ...] = ()
    duties: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    owner: AccountId | None = None
    status: RoleStatus = "published"
    proposed_description: str | None = None
    proposed_keywords: tuple[str, ...] | None = None
    decided_at: datetime | None = None
    reason: str | None = None

    @property
    def sort(self) -> Kind:
        return "role"
