"""What we do not own, as protocols; `app.ports` holds the adapters."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NewType, Protocol
from uuid import UUID

import msgspec

from domain.catalogue.seeds import Seeds
from domain.errors import Conflict, Unavailable
from domain.types import Secret


class Clock(Protocol):
    """The time, always in UTC. Every deadline is compared with it."""

    def __call__(self) -> datetime: ...


class NewId(Protocol):
    """A new UUIDv7: ids sort by the time they were made."""

    def __call__(self) -> UUID: ...


SessionLifetime = NewType("SessionLifetime", timedelta)
"""How long a sign-in counts."""


InboxWindow = NewType("InboxWindow", timedelta)
"""How long a reaction remembers which events it has had."""


class SeedSource(Protocol):
    """Reads and judges the seed files of this build. Raises a `ValueError` with a line for everything that is wrong with them."""

    def __call__(self) -> Seeds: ...


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A plain-text mail. The same `message_id` (without angle brackets) always means the same mail, so a server may drop a repetition."""

    message_id: str
    to: str
    to_name: str
    subject: str
    text: str


class Mailer(Protocol):
    async def send(self, mail: Mail) -> None:
        """Hand the mail over. Raises `Unavailable` when the server does not take mail at the moment."""
        ...


class Passwords(Protocol):
    """Argon2id, off the event loop; at most a few at once."""

    async def hash(self, password: Secret) -> str: ...

    async def verify(self, hashed: str | None, password: Secret) -> bool:
        """Whether the password is the one hashed. `None` (an unknown address) costs as much as a real one and is never right."""
        ...


class Fingerprint(Protocol):
    """A keyed hash that recognises a value again without keeping it; 32 hexadecimal digits."""

    def __call__(self, value: str) -> str: ...


class NewSigningKey(msgspec.Struct, frozen=True, kw_only=True):
    kid: str
    sealed: bytes


class KeyMaker(Protocol):
    """Makes a key that signs access tokens, sealed so that only this installation can use it."""

    def __call__(self) -> NewSigningKey: ...


class UnknownModel(Conflict):
    """Not for people: whoever asks searches without vectors, or with those of another model."""

    code = "service.unknown_model"
    title = "No vectors can be made with this model here."


class ProviderRefused(Unavailable):
    """The provider answers, but never with what was asked for: the key, the model or the answer is wrong."""

    code = "service.provider_refused"
    title = "A provider of language models does not answer as it should. Look at its URL, its key and its model."


class Embedder(Protocol):
    """Texts as vectors: the more alike in meaning, the smaller the angle. The first line of a text is its title."""

    @property
    def model(self) -> str:
        """The id of the configured model: vectors of another one cannot be compared with its own."""
        ...

    async def embed(self, texts: Sequence[str], *, model: str) -> list[tuple[float, ...]]:
        """One vector for each text, in their order, all equally long, finite and not zero.

        Raises `UnknownModel`, `Unavailable` when the provider does not answer at the moment, and `ProviderRefused`.
        """
        ...


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """`instructions` are ours; `text` is what a person wrote, and never instructions. `most` bounds the answer, in tokens.

    With a `schema` (JSON Schema) the answer is to be one JSON object of that shape; whoever asks still checks that it is.
    """

    instructions: str
    text: str
    schema: Mapping[str, object] | None = None
    most: int = 800


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    model: str


class LanguageModel(Protocol):
    @property
    def available(self) -> bool:
        """Whether one is configured; `complete` is for those who have looked."""
        ...

    async def complete(self, prompt: Prompt) -> Completion:
        """Raises `Unavailable` when the provider does not answer at the moment, or none is configured, and `ProviderRefused`."""
        ...
