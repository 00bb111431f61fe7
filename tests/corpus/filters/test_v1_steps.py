"""The filters and maps of corpus v1 at their edges, on texts made here: what the parity data covers, without it."""

import random
import zlib

import pytest
import regex

from llmjp_jax.corpus.filters.japanese import (
    average_sentence_length,
    extract_japanese,
    is_japanese,
)
from llmjp_jax.corpus.filters.metadata import (
    alphanum_fraction,
    average_line_length,
    max_line_length,
    not_pile_set,
    valid_domain,
    valid_extension,
)
from llmjp_jax.corpus.filters.reformat import reformat
from llmjp_jax.corpus.filters.text import compression_ratio, not_empty
from llmjp_jax.corpus.filters.wikipedia import clean_parentheses, cut_footnotes
from llmjp_jax.errors import UserError


def document(text: str = "", **meta) -> dict:
    return {"text": text, "meta": meta}


@pytest.mark.parametrize(
    ("url", "keep"),
    [
        ("https://example.com/a.txt", True),
        ("http://EXAMPLE.JP:8080/x?y#z", True),
        ("https://user:secret@example.co.jp/", True),
        ("https://ja.wikipedia.org/wiki/X", False),
        ("http://ja.wikipedia.org/wiki/X", True),  # the prefix has https, as the reference's
        ("https://en.wikipedia.org/wiki/X", True),
        ("https://example.dev/", False),
        ("https://example.com./", False),
        ("http://192.168.0.1/", False),
        ("http://[::1]/", False),
        ("http://[broken/", False),
        ("example.com/no-scheme", False),
        ("", False),
    ],
)
def test_a_page_is_kept_by_its_top_level_domain(url, keep):
    assert valid_domain(document(url=url)) is keep


def test_domains_and_extensions_may_be_ones_own(tmp_path):
    (tmp_path / "own").write_text("dev\n")
    own = str(tmp_path / "own")
    assert valid_domain(document(url="https://example.dev/"), word_list=own)
    assert not valid_domain(document(url="https://example.com/"), word_list=own)
    assert valid_extension(document(ext="dev"), word_list=own)


def test_code_is_kept_by_its_metadata_limits_included():
    assert valid_extension(document(ext="c++"))
    assert valid_extension(document(ext="H"))
    assert not valid_extension(document(ext="PY"))
    assert max_line_length(document(max_line_length=1000), limit=1000)
    assert not max_line_length(document(max_line_length=1001), limit=1000)
    assert average_line_length(document(avg_line_length=100.0), limit=100)
    assert not average_line_length(document(avg_line_length=100.01), limit=100)
    assert alphanum_fraction(document(alphanum_fraction=0.25), low=0.25)
    assert not alphanum_fraction(document(alphanum_fraction=0.249), low=0.25)


def test_a_component_of_the_pile_is_left_out_by_its_exact_name():
    assert not not_pile_set(document(pile_set_name="Books3"), names=["Books3"])
    assert not_pile_set(document(pile_set_name="books3"), names=["Books3"])


@pytest.mark.parametrize(
    ("step", "field", "bad", "kind"),
    [
        (valid_domain, "url", None, "string"),
        (valid_extension, "ext", 3, "string"),
        (lambda d: not_pile_set(d, names=[]), "pile_set_name", [], "string"),
        (lambda d: max_line_length(d, limit=1), "max_line_length", "9", "number"),
        (lambda d: average_line_length(d, limit=1), "avg_line_length", "9", "number"),
        (lambda d: alphanum_fraction(d, low=1), "alphanum_fraction", None, "number"),
    ],
)
def test_a_missing_or_wrong_field_of_meta_is_named(step, field, bad, kind):
    with pytest.raises(UserError, match=rf"has no meta\.{field}; the filter \w+ reads it"):
        step(document())
    with pytest.raises(UserError, match=rf"as meta\.{field}, which is not a {kind}"):
        step(document(**{field: bad}))


def test_white_space_is_empty():
    for text in ("", " ", "\n\u3000\t", "\x1c\x85"):
        assert not not_empty(document(text))
    assert not_empty(document("\n。"))


def test_kana_must_be_among_the_first_characters():
    assert is_japanese(document("a" * 49 + "あ"), lookup=50)
    assert not is_japanese(document("a" * 50 + "あ"), lookup=50)
    assert is_japanese(document("漢ン"), lookup=2)
    for other in ("ヴ", "ー", "ｱ", "ゝ", "漢字", ""):
        assert not is_japanese(document(other), lookup=50), other


def test_sentences_may_be_as_long_as_the_limit():
    assert average_sentence_length(document("あ" * 79 + "。"), limit=80)
    assert not average_sentence_length(document("あ" * 80 + "。"), limit=80)
    assert average_sentence_length(document(""), limit=80)


def test_compression_has_both_ends_included_and_nothing_for_an_empty_text():
    text = "a" * 200  # 12 bytes of zlib at level 9
    assert compression_ratio(document(text), low=0.06, high=0.06)
    assert not compression_ratio(document(text), low=0.0601, high=1)
    assert not compression_ratio(document(text), low=0, high=0.0599)
    # ln 200 = 5.298
    assert compression_ratio(document(text), low=0.1129, high=0.1131, length_factor=0.01)
    assert not compression_ratio(document(""), low=0, high=9)


def test_compression_is_at_level_9():
    choose = random.Random(3)
    text = "".join(choose.choices(["abcdefgh", "bcdefghi", "cdefghij", "x", "yz"], k=20_000))
    nine, six = (len(zlib.compress(text.encode(), level)) / len(text) for level in (9, 6))
    assert nine != six
    assert compression_ratio(document(text), low=nine, high=nine)
    assert not compression_ratio(document(text), low=six, high=six)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("あ\nABC\nい", "あい"),
        ("漢字\nゝ\nー\n・\nｶ\nｰ", "ゝーｶ"),  # ー is kept, ・ and its half-width form are not kana
        ("あ\r\nB\r\nい\r", "あ\rい\r"),
        ("あhttps://a.jp/b?c=(d)+e_é漢か。", "あ。"),
        ("あhttp://a.jp/か\u3099き！", "あ！"),  # a combining mark is a part of an address
        ("あhttp://a.jp/x①", "あ①"),  # a circled number is not
        ("あhttps://", "あhttps://"),
        ("あ" + "x" * 99 + "い", "あ" + "x" * 99 + "い"),
        ("あ" + "x" * 100 + "い", "あい"),
        ("x" * 100 + "あ" + "y" * 300, "あ"),
        (
            "あ" + "x" * 60 + "http://a.b/" + "y" * 60 + " " + "z" * 39,
            "あ",
        ),  # 100 after the address is gone
        ("\U0001b150\nx", "\U0001b150"),  # small kana beyond the basic plane
    ],
)
def test_lines_of_japanese_are_joined_without_addresses_and_code(text, expected):
    assert extract_japanese(document(text))["text"] == expected


def test_long_ascii_is_removed_as_a_plain_loop_does():
    choose = random.Random(1)
    for _ in range(500):
        runs = [
            "".join(choose.choices("ab \t\x00~", k=choose.choice((0, 1, 98, 99, 100, 101, 250))))
            for _ in range(choose.randint(1, 6))
        ]
        kept = ["" if len(run) >= 100 else run for run in runs]
        assert extract_japanese(document("あ".join(["", *runs])))["text"] == "あ".join(["", *kept])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("本文\n脚注\n後", "本文"),
        ("本文\n脚注 \u3000\t\n後", "本文"),
        ("本文\r\n脚注\r\n後", "本文\r"),
        ("本文\n脚注\n\n後", "本文"),
        ("本文\n\n出典・脚注\n後", "本文\n"),
        ("a\nSee also\nb\nNotes\nc", "a"),
        ("a\nsee also\nb", None),
        ("本文\n 脚注\n後", None),
        ("本文\n脚注：\n後", None),
        ("本文\n脚注", None),  # no newline after it
        ("脚注\n後", None),  # none before it
        ("本文\n脚注\x1c\n後", None),  # Python alone takes U+001C for white space
    ],
)
def test_an_article_ends_at_the_first_heading_of_notes(text, expected):
    assert cut_footnotes(document(text))["text"] == (text if expected is None else expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("東京（とうきょう、 ）は", "東京（とうきょう）は"),
        ("東京（　、；）は", "東京は"),
        ("a (, ;) b", "a b"),
        ("a \n(b\n, ) c", "a \n(b) c"),
        ("a  () b", "a  b"),
        ("() ()x", "x"),
        ("（（））", "（）"),
        ("(())", "()"),
        ("（()）", "（）"),
        ("f(、)", "f(、)"),  # the separators of Japanese count in its own parentheses alone
        (") (", ") ("),
        ("(\x1c)", "(\x1c)"),
    ],
)
def test_parentheses_are_cleaned(text, expected):
    ours = clean_parentheses(document(text))["text"]
    assert ours == expected


WHITE = [chr(code) for code in range(0x3001) if regex.match(r"\s", chr(code))]


def slowly_cleaned(text: str) -> str:
    """The same by single removals, until there is nothing to remove."""
    for opening, closing, separators in (("（", "）", ",，、;；"), ("(", ")", ",;")):
        before = None
        while before != text:
            before = text
            for character in (*WHITE, *separators):
                text = text.replace(opening + character, opening)
                text = text.replace(character + closing, closing)
        kept = ""
        for part in (parts := text.split(opening + closing))[:-1]:
            spaced = closing == ")" and part and part[-1] in WHITE
            kept += part[:-1] if spaced else part
        text = kept + parts[-1]
    return text


def test_parentheses_are_cleaned_as_by_single_removals():
    choose = random.Random(2)
    for _ in range(400):
        text = "".join(
            choose.choices("（）()  ,;、；，　\n\xa0\u2003ab漢", k=choose.randint(0, 30))
        )
        assert clean_parentheses(document(text))["text"] == slowly_cleaned(text), repr(text)


def test_white_space_in_parentheses_is_unicodes():
    for code in range(0x3100):
        character = chr(code)
        stripped = clean_parentheses(document(f"({character}a)"))["text"] == "(a)"
        assert stripped is bool(regex.match(r"[\s,;]", character)), hex(code)


@pytest.mark.parametrize(
    ("step", "parts", "expected"),
    [
        (extract_japanese, ("あ", "x"), "あ"),
        (cut_footnotes, ("あ", "Notes", "x"), "あ"),
        (clean_parentheses, ("あ", "(, x)"), "あ\n(x)"),
    ],
)
def test_a_map_makes_the_paragraphs_of_a_document_its_text(step, parts, expected):
    paragraphs = [{"path": "p", "text": part, "link_chars": 0} for part in parts]
    changed = step({"text": "stale", "meta": {}, "paragraphs": paragraphs})
    assert changed == {"text": expected, "meta": {}}


def test_a_record_becomes_text_and_meta():
    record = {"content": "x", "ext": "py", "meta": {"id": 7, "ext": "old"}}
    assert reformat(record, "content") == {"text": "x", "meta": {"id": 7, "ext": "py"}}
    assert record["meta"] == {"id": 7, "ext": "old"}
    assert reformat({"text": "x", "meta": None}, "text") == {"text": "x", "meta": {}}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"content": "x"}, r"a.jsonl, line 3 has no field 'text'.*\(content\)"),
        ({}, r"a.jsonl, line 3 has no field 'text'.*\(none\)"),
        ({"text": None}, "a.jsonl, line 3: field 'text' is of type NoneType"),
        ({"text": "", "meta": 3}, "a.jsonl, line 3: field 'meta' is of type int"),
    ],
)
def test_a_record_without_text_is_a_users_error(record, message):
    with pytest.raises(UserError, match=message):
        reformat(record, "text", where="a.jsonl, line 3")
