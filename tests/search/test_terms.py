"""Terms of ids, characters and words."""

import itertools

import pytest
import regex

from llmjp_jax.search import terms


def test_each_character_makes_a_term_with_the_next_and_the_last_one_alone():
    assert terms.char_terms("東京都") == ["東京", "京都", "都"]
    assert terms.char_terms("東京都", whole=False) == ["東京", "京都"]
    assert terms.char_terms("東") == ["東"]
    assert terms.char_terms("") == []


def test_all_of_unicodes_white_space_is_written_otherwise():
    characters = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    spaces = regex.findall(r"\p{White_Space}", characters)
    assert len(spaces) == 25
    for a, b in itertools.product(spaces, repeat=2):
        (pair, last) = terms.char_terms(a + b)
        assert not regex.search(r"\p{White_Space}", pair + last)
        assert (
            len(pair) == 2
            and pair.startswith(terms.char_prefix(a))
            and last == terms.char_prefix(b)
        )
    assert len({terms.char_prefix(space) for space in spaces}) == 25


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Cat's ＡＢＣ-1", ["the", "cat", "s", "abc", "1"]),
        ("東京へTokyoで行く", ["東京", "京へ", "tokyo", "で行", "行く"]),
        ("ｶﾞｷﾞ", ["ガギ"]),
        ("猫。", ["猫"]),
        ("self._name = x_1", ["self", "_name", "x_1"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("한국어 ไทย", ["한국", "국어", "ไท", "ทย"]),
        ("", []),
        ("…!?", []),
    ],
)
def test_words_are_folded_and_unsegmented_text_is_cut_into_pairs(text, expected):
    assert terms.word_terms(text) == expected


def test_a_word_without_end_is_cut():
    assert terms.word_terms("a" * 10_000) == ["a" * 100]
