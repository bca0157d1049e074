"""Sealing under the secret key, and the fingerprints made with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ports.fingerprint import HmacFingerprint
from app.sealing import SealBrokenError, Sealer

KEY, OTHER = "a long random text", "another long random text"


@given(st.binary(max_size=200), st.text(max_size=20))
def test_what_was_sealed_is_opened_for_the_same_purpose(data: bytes, purpose: str) -> None:
    sealer = Sealer(KEY)
    assert sealer.open(purpose, sealer.seal(purpose, data)) == data


def test_the_same_value_is_sealed_differently_each_time() -> None:
    sealer = Sealer(KEY)
    assert len({sealer.seal("a", b"value") for _ in range(100)}) == 100


def test_sealed_data_does_not_show_the_value() -> None:
    assert b"value" not in Sealer(KEY).seal("a", b"value")


def test_a_change_of_any_byte_is_noticed() -> None:
    sealer = Sealer(KEY)
    sealed = sealer.seal("a", b"value")
    for index in range(len(sealed)):
        changed = sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
        with pytest.raises(SealBrokenError):
            sealer.open("a", changed)


@pytest.mark.parametrize("length", range(29))
def test_what_is_too_short_was_never_sealed(length: int) -> None:
    with pytest.raises(SealBrokenError, match="version"):
        Sealer(KEY).open("a", Sealer(KEY).seal("a", b"")[:length])


def test_another_purpose_or_another_key_opens_nothing() -> None:
    sealed = Sealer(KEY).seal("a", b"value")
    with pytest.raises(SealBrokenError, match="FLUENTPRO_SECRET_KEY"):
        Sealer(KEY).open("b", sealed)
    with pytest.raises(SealBrokenError, match="FLUENTPRO_SECRET_KEY"):
        Sealer(OTHER).open("a", sealed)


def test_a_previous_key_opens_but_does_not_seal() -> None:
    rotated = Sealer(OTHER, previous=[KEY])
    assert rotated.open("a", Sealer(KEY).seal("a", b"value")) == b"value"
    assert Sealer(OTHER).open("a", rotated.seal("a", b"value")) == b"value"
    assert rotated.mac("a", b"value") == Sealer(OTHER).mac("a", b"value")


@pytest.mark.parametrize(("key", "previous"), [("", []), (KEY, [""])])
def test_an_empty_key_is_refused(key: str, previous: list[str]) -> None:
    with pytest.raises(ValueError, match="FLUENTPRO_SECRET_KEY"):
        Sealer(key, previous)


def test_what_is_stored_under_a_key_is_readable_for_ever() -> None:
    sealed = bytes.fromhex("015c3d7a8bb39ead5c7de9112b4d4ac918d62a9e4916b4f8e24c7766709a6a7020e1")
    assert Sealer(KEY).open("a", sealed) == b"value"
    assert Sealer(KEY).mac("a", b"value").hex() == "576e5bd38fd239168ca2a79f6a0e197da0bace275c109a8aeb32357204eb307b"


def test_an_authentication_code_depends_on_key_purpose_and_data() -> None:
    codes = {Sealer(key).mac(purpose, data) for key in (KEY, OTHER) for purpose in ("a", "b") for data in (b"1", b"2")}
    assert len(codes) == 8
    assert {len(code) for code in codes} == {32}


def test_a_fingerprint_is_the_same_for_the_same_value_only() -> None:
    of_addresses = HmacFingerprint(Sealer(KEY), "email")
    assert of_addresses("ana@example.com") == HmacFingerprint(Sealer(KEY), "email")("ana@example.com")
    assert of_addresses("ana@example.com") != of_addresses("bob@example.com")
    assert of_addresses("ana@example.com") != HmacFingerprint(Sealer(KEY), "phone")("ana@example.com")
    assert of_addresses("ana@example.com") != HmacFingerprint(Sealer(OTHER), "email")("ana@example.com")


def test_a_fingerprint_is_32_hexadecimal_digits() -> None:
    fingerprint = HmacFingerprint(Sealer(KEY), "email")("ana@example.com")
    assert len(fingerprint) == 32
    assert len(bytes.fromhex(fingerprint)) == 16
