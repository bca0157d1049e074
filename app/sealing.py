"""Encryption, authentication and signatures under the secret key, each purpose with a key of its own."""

import os
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bus.message import Personal

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_PERSON: Final = "key of a person"


class SealBrokenError(Exception):
    """What was to be opened is not what was sealed for this purpose under any of the keys; the message says which key to set."""


class Sealer:
    """AES-256-GCM and HMAC-SHA256 under keys derived from the secret key by HKDF-SHA256.

    `previous` secret keys open what was sealed before a rotation; nothing new is made under them. Nonces are random, so seal
    fewer than 2^32 values for one purpose under one secret key.
    """

    def __init__(self, secret_key: str, previous: Sequence[str] = ()) -> None:
        if not secret_key or not all(previous):
            raise ValueError("A secret key is empty: set FLUENTPRO_SECRET_KEY to a long random text.")
        self._secret, self._previous = secret_key, tuple(previous)

    def seal(self, purpose: str, data: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + AESGCM(_derived(self._secret, "seal", purpose)).encrypt(nonce, data, _VERSION)

    def open(self, purpose: str, data: bytes) -> bytes:
        """Raises `SealBrokenError`."""
        if data[:1] != _VERSION or len(data) < 1 + _NONCE_BYTES + _TAG_BYTES:
            raise SealBrokenError(f"This was not sealed by this version of the program: {purpose}. Run the version that wrote it.")
        nonce, ciphertext = data[1 : 1 + _NONCE_BYTES], data[1 + _NONCE_BYTES :]
        for secret in (self._secret, *self._previous):
            try:
                return AESGCM(_derived(secret, "seal", purpose)).decrypt(nonce, ciphertext, _VERSION)
            except InvalidTag:
                continue
        raise SealBrokenError(
            f"This was altered, or sealed under another key: {purpose}. Set FLUENTPRO_SECRET_KEY to the key that was in use then."
        )

    def mac(self, purpose: str, data: bytes) -> bytes:
        """32 bytes that only a holder of the secret key can compute; it differs after a rotation."""
        code = HMAC(_derived(self._secret, "mac", purpose), SHA256())
        code.update(data)
        return code.finalize()

    def sign(self, purpose: str, data: bytes) -> bytes:
        """An Ed25519 signature, which anybody can check who has the public key of this purpose."""
        return self._signing(purpose).sign(data)

    def public_key(self, purpose: str) -> bytes:
        """32 bytes, to check what was signed for this purpose; others after a rotation."""
        return self._signing(purpose).public_key().public_bytes_raw()

    def _signing(self, purpose: str) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(_derived(self._secret, "sign", purpose))


class KeyOfPerson:
    """AES-256-GCM under a key of one person's own. Nonces are random, so seal fewer than 2^32 texts for one person."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, text: str) -> Personal:
        nonce = os.urandom(_NONCE_BYTES)
        return Personal(_VERSION + nonce + self._cipher.encrypt(nonce, text.encode(), _VERSION))

    def open(self, personal: Personal) -> str:
        """Raises `SealBrokenError`."""
        sealed = personal.sealed
        if sealed[:1] != _VERSION or len(sealed) < 1 + _NONCE_BYTES + _TAG_BYTES:
            raise SealBrokenError("This was not sealed under the key of a person.")
        try:
            return self._cipher.decrypt(sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :], _VERSION).decode()
        except InvalidTag:
            raise SealBrokenError("This was altered, or sealed under the key of another person.") from None


class PersonVault:
    """The keys of people, wrapped under the secret key."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def wrapped_key(self) -> bytes:
        return self._sealer.seal(_PERSON, AESGCM.generate_key(256))

    def opened(self, wrapped: bytes) -> KeyOfPerson:
        """Raises `SealBrokenError`."""
        return KeyOfPerson(self._sealer.open(_PERSON, wrapped))


def signed_by(public_key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether the holder of this key has signed the data."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):  # A key that is none is a ValueError.
        return False
    return True


def _derived(secret: str, use: str, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"fluentpro {use} {purpose}".encode()).derive(secret.encode())
