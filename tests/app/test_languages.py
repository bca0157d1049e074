"""In which languages a request wants its labels, by its Accept-Language."""

import pytest

from app.api.languages import wanted_languages


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, ()),
        ("", ()),
        ("*", ()),
        ("fr", ("fr",)),
        ("fr-CA", ("fr-CA", "fr")),
        ("FR-ca", ("fr-CA", "fr")),
        ("fr;q=0.5, de", ("de", "fr")),
        ("fr ; q=0.5 , de ;q=0.7", ("de", "fr")),
        ("de, fr", ("de", "fr")),
        ("fr;q=0, de", ("de",)),
        ("fr-CA, fr, fr-FR", ("fr-CA", "fr", "fr-FR")),
        ("en-GB, fr", ("en-GB", "en")),
        ("en;q=0.5, fr", ("fr", "en")),
        ("sr-latn-rs", ("sr-Latn-RS", "sr-Latn", "sr")),
    ],
)
def test_the_most_wanted_comes_first_and_what_is_more_general_after_it(header: str | None, wanted: tuple[str, ...]) -> None:
    assert wanted_languages(header) == wanted


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("zh", "zh-Hans"),
        ("zh-CN", "zh-Hans"),
        ("zh-SG", "zh-Hans"),
        ("zh-TW", "zh-Hant"),
        ("zh-hk", "zh-Hant"),
        ("zh-MO", "zh-Hant"),
        ("zh-Hant", "zh-Hant"),
        ("zh-hant-cn", "zh-Hant"),
        ("zh-Hans-HK", "zh-Hans"),
    ],
)
def test_chinese_has_the_script_that_is_named_or_that_of_the_place(header: str, wanted: str) -> None:
    assert wanted_languages(header) == (wanted,)


@pytest.mark.parametrize("header", ["f_r", "fr;q=2", "fr;q=x", "fr;x=1", "abcdefghi", "fr--CA", "français", "\x00", ",;=", "fr;q=0.1234"])
def test_what_is_malformed_is_left_out(header: str) -> None:
    assert wanted_languages(f"{header}, de") == ("de",)


def test_a_list_without_end_is_not_read_to_its_end() -> None:
    assert wanted_languages(", ".join(["fr"] * 20 + ["de"])) == ("fr",)
