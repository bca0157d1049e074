"""The `Passwords` port: Argon2id in a few threads of its own."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import VerifyMismatchError

from domain.accounts.rules import normalise_password
from domain.errors import Unavailable
from domain.types import Secret

R = TypeVar("R")

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)


@cache
def _nobodys() -> str:
    """The hash of a password that nobody knows; one is enough for a process."""
    return _HASHER.hash(secrets.token_bytes(16))


class Argon2Passwords:
    """19 MiB and two passes for each hash (OWASP's least for Argon2id), about 30 ms of one core.

    At most `concurrency` are computed at once and `waiting` more wait for their turn; beyond that it raises `Unavailable`. Passwords
    are normalised here, so that no caller can forget it.
    """

    def __init__(self, concurrency: int, waiting: int = 100) -> None:
        # Made before anybody signs in: the first would wait for it, and be told apart by that.
        self._nobodys = _nobodys()
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="argon2")
        self._callers, self._callers_most = 0, concurrency + waiting

    async def hash(self, password: Secret) -> str:
        return await self._computed(lambda: _HASHER.hash(_octets(password)))

    async def verify(self, hashed: str | None, password: Secret) -> bool:
        right = await self._computed(lambda: self._matches(hashed or self._nobodys, password))
        return right and hashed is not None

    async def close(self) -> None:
        """Takes no more, and returns when what was taken has been computed."""
        await asyncio.to_thread(self._threads.shutdown)

    async def _computed(self, compute: Callable[[], R]) -> R:
        if self._callers >= self._callers_most:
            raise Unavailable("Too many people are signing in at once. Try again in a second.", retry_after=1)
        self._callers += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, compute)
        finally:
            self._callers -= 1

    def _matches(self, hashed: str, password: Secret) -> bool:
        try:
            return _HASHER.verify(hashed, _octets(password))
        except VerifyMismatchError:
            return False


def _octets(password: Secret) -> bytes:
    # A terminal can hand over bytes that are no text as lone surrogates; they are as good as any.
    return normalise_password(password.reveal()).encode("utf-8", "surrogatepass")
