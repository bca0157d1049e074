"""What we do not own, as protocols; `app.ports` holds the adapters."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import NewType, Protocol
from uuid import UUID

import msgspec

from bus.message import Personal
from domain.catalogue.seeds import Seeds
from domain.errors import Conflict, Denied, Unavailable
from domain.practice.prompt import Scene, request_tokens
from domain.practice.seeds import ScenarioSeeds
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


class ScenarioSource(Protocol):
    """The same for the scenarios of this build."""

    def __call__(self) -> ScenarioSeeds: ...


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


class PersonKey(Protocol):
    """The key of one person. What it sealed cannot be read without it; whoever deletes it erases all that."""

    def seal(self, text: str) -> Personal: ...

    def open(self, personal: Personal) -> str:
        """Raises an error that is no refusal when this is not what the key sealed."""
        ...


class Vault(Protocol):
    """Makes and opens the keys of people, each wrapped under the secret of this installation."""

    def wrapped_key(self) -> bytes:
        """A new one."""
        ...

    def opened(self, wrapped: bytes) -> PersonKey: ...


class PracticeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens: of a conversation, of a learner on a day (UTC), of one answer, and of the exchanges that a model is told of.

    `lease` is how long a worker may be silent before another takes its turn over; `kept` is how long readers may come back to a log.
    Prices are for a million tokens, in the currency of whoever pays.
    """

    conversation: int
    day: int
    answer: int
    context: int
    lease: timedelta
    kept: timedelta
    price_in: float
    price_out: float


class Pen(Protocol):
    """Writes the text of one attempt into the log of its conversation, before anybody sees it."""

    async def write(self, text: str) -> None:
        """Returns before it is written, unless much is waiting. Raises `LostLease` once the attempt does not count any more."""
        ...

    async def written(self) -> None:
        """Once everything is. Raises `LostLease`."""
        ...


class StreamLog(Protocol):
    def writing(self, conversation: UUID, turn: UUID, attempt: int, fence: int, key: PersonKey) -> AbstractAsyncContextManager[Pen]:
        """Keeps the lease while it is open. When the lease is lost, whatever is awaited inside is cancelled, and `LostLease` raised."""
        ...


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

    @property
    def tokens(self) -> int:
        """How many the request may have, as we count; what `most` allows for the answer comes on top."""
        shape = () if self.schema is None else (msgspec.json.encode(self.schema).decode(),)
        return request_tokens((self.instructions, self.text, *shape))


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """`model` names itself; the tokens are those that the provider counted, or else our estimate."""

    text: str
    model: str
    tokens_in: int
    tokens_out: int


class ContentRefused(Denied):
    """The provider will not say this, or not answer that. Another call would end the same way."""

    code = "service.content_refused"
    title = "The language model will not answer this. Say it in another way."


class Piece(msgspec.Struct, frozen=True):
    """The next of an answer's text, never empty."""

    text: str


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The last that a stream yields: the answer is whole. `model` names itself; with `counted` False the tokens are our estimate."""

    model: str
    tokens_in: int
    tokens_out: int
    counted: bool


class LanguageModel(Protocol):
    @property
    def available(self) -> bool:
        """Whether one is configured; `complete` is for those who have looked."""
        ...

    @property
    def model(self) -> str:
        """Whom `route` names first, while it answers. That of the scripted model begins with `scripted`."""
        ...

    async def complete(self, prompt: Prompt) -> Completion:
        """Raises `Unavailable` when the provider does not answer at the moment, or none is configured, `ProviderRefused`, and
        `ContentRefused`.
        """
        ...

    def route(self, failures: Sequence[str]) -> str | None:
        """Whom to ask next in a turn in which these models have failed, in this order; None: nobody, the turn has failed.

        It is asked once before each call, for it may lend the one probe of a model that has been failing.
        """
        ...

    def stream(self, scene: Scene, *, model: str) -> AsyncGenerator[Piece | Ended, None]:
        """The partner's answer: pieces, then one `Ended`. Makes exactly one call, when the first is asked for; `aclose` ends it at once.

        Raises `Unavailable` for what may go better in a new call (nothing in time, a cut, too many requests, a broken server),
        `ProviderRefused` and `ContentRefused`; pieces may have come before each of them.
        """
        ...
