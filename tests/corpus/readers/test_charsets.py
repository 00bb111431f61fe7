"""The guess of a page's charset and language."""

import json

import pytest

pytest.importorskip("resiliparse")

from llmjp_jax.corpus.readers.charsets import (
    LANGUAGE_BYTES,
    codecs_of,
    guess_charset_and_language,
    guess_language,
)

JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 10
CHINESE = (
    "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。人人有资格享有本宣言所载的一切权利和自由，不分种族、"
    "肤色、性别、语言、宗教、政治或其他见解、国籍或社会出身、财产、出生或其他身分等任何区别。并且不得因一人所属的国家或领土的政治的、行政的或者"
    "国际的地位之不同而有所区别。人人有权享有生命、自由和人身安全。任何人不得使为奴隶或奴役；一切形式的奴隶制度和奴隶买卖，均应予以禁止。任何人"
    "不得加以酷刑，或施以残忍的、不人道的或侮辱性的待遇或刑罚。人人在任何地方有权被承认在法律前的人格。法律之前人人平等，并有权享受法律的平等保护。"
)
KOREAN = (
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았다. "
    * 8
)
RUSSIAN = (
    "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью. "
    * 6
)


def page(text: str, charset: str = "", encoding: str = "utf-8") -> bytes:
    meta = f'<meta charset="{charset}">' if charset else ""
    return f"<html><head>{meta}<title>t</title></head><body>{text}</body></html>".encode(encoding)


@pytest.mark.parametrize(
    ("charset", "encoding", "codec"),
    [
        ("utf-8", "utf-8", "utf-8"),
        ("Shift_JIS", "cp932", "cp932"),
        ("x-sjis", "cp932", "cp932"),
        ("EUC-JP", "euc_jp", "euc_jp"),
        ("iso-2022-jp", "iso2022_jp", "iso2022_jp"),
    ],
)
def test_the_charset_of_a_meta_tag_of_the_header_or_none_at_all_is_found(charset, encoding, codec):
    body = page(JAPANESE, charset, encoding)
    assert guess_charset_and_language(body) == (codec, "ja")
    bare = page(JAPANESE, "", encoding)
    assert guess_charset_and_language(bare, f"text/html; charset={charset}") == (codec, "ja")
    assert guess_charset_and_language(bare) == (codec, "ja")


def test_the_meta_tag_comes_before_the_header_and_the_last_tag_counts():
    body = page(JAPANESE, "euc-jp", "euc_jp")
    assert guess_charset_and_language(body, "text/html; charset=iso-8859-1") == ("euc_jp", "ja")
    two = body.replace(b"<head>", b"<head><META HTTP-EQUIV=x content='text/html; charset=latin1'>")
    assert guess_charset_and_language(two) == ("euc_jp", "ja")


def test_a_charset_that_does_not_decode_the_page_is_passed_over():
    body = page(JAPANESE, "utf-8", "cp932")
    assert guess_charset_and_language(body, "text/html; charset=Shift_JIS") == ("cp932", "ja")
    assert guess_charset_and_language(body, "text/html; charset=no-such") == ("cp932", "ja")
    assert guess_charset_and_language(body) == ("cp932", "ja")


def test_the_circled_digits_of_nec_are_read_in_shift_jis_and_in_euc_jp():
    assert guess_charset_and_language(page("①" + JAPANESE, "shift_jis", "cp932"))[0] == "cp932"
    body = page(JAPANESE, "euc-jp", "euc_jp").replace(b"<body>", b"<body>\xad\xa1")
    assert guess_charset_and_language(body) == ("euc_jis_2004", "ja")


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_a_page_whose_first_bytes_end_within_a_character_is_decoded(shift):
    long = "あ" * LANGUAGE_BYTES
    body = b"<meta charset=utf-8>" + b"x" * shift + long.encode()
    assert guess_charset_and_language(body) == ("utf-8", "ja")


def test_a_page_needs_more_than_256_characters_that_are_not_ascii():
    assert guess_language("a" * 9999 + "あ" * 256) is None
    assert guess_language("a" * 9999 + "あ" * 257) == "ja"


def test_mark_up_and_scripts_do_not_count():
    script = "<script>the quick brown fox jumps over the lazy dog;</script>" * 50
    assert guess_charset_and_language(page(script + JAPANESE)) == ("utf-8", "ja")
    assert guess_charset_and_language(page(script)) == ("utf-8", None)


@pytest.mark.parametrize(
    ("text", "language"),
    [(JAPANESE, "ja"), (CHINESE, "zh"), (KOREAN, "ko"), (RUSSIAN, "ru"), ("カタカナダケノ ブン。" * 40, "ja")],
)  # fmt: skip
def test_languages_of_one_script_are_told_apart(text, language):
    assert guess_language(text) == language


def test_chinese_with_a_few_japanese_names_stays_chinese():
    assert guess_language(CHINESE + "ドラえもん") == "zh"


def test_every_longer_japanese_text_of_the_reference_data_is_japanese(shared_data):
    texts = []
    for name in ("ja_cc", "ja_wiki"):
        lines = (shared_data / f"parity/corpus_filters/{name}.jsonl").read_text().splitlines()
        texts += [json.loads(line)["raw"].get("text") or "" for line in lines]
    long = [text for text in texts if sum(ord(one) > 127 for one in text) > 256]
    assert len(long) > 50
    assert {guess_language(text) for text in long} == {"ja"}


def test_only_names_of_charsets_are_charsets():
    for name in ("rot13", "hex", "bz2", "unicode_escape", "idna", "nope", "", "a\0b"):
        assert codecs_of(name) == ()
    assert codecs_of(' "UTF8"; ') == ("utf-8",)
