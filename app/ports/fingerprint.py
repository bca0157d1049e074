"""The `Fingerprint` port: recognises a value again without keeping it."""

from typing import Final

from app.sealing import Sealer

_HEX_DIGITS: Final = 32


class HmacFingerprint:
    """HMAC-SHA256 under the secret key, cut to 128 bits. Fingerprints of one purpose cannot be compared with those of another."""

    def __init__(self, sealer: Sealer, purpose: str) -> None:
        self._sealer, self._purpose = sealer, f"fingerprint {purpose}"

    def __call__(self, value: str) -> str:
        return self._sealer.mac(self._purpose, value.encode()).hex()[:_HEX_DIGITS]
