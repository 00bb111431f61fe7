"""Counting words: the same number as the reference's regular expression, on random texts full of traps."""

import pickle
import random
import re

import pytest

from llmjp_jax.corpus.filters.keywords import (
    KeywordCounter,
    adult,
    advertisements,
    discrimination,
    violence,
)
from llmjp_jax.corpus.filters.word_lists import load_word_list
from llmjp_jax.errors import UserError

# Katakana, katakana that HojiChar does not take for such (ヷ, half-width, middle dot), and characters of 1 to 4 bytes.
ALPHABET = "ァアカヴーヷｱ・あん漢語aA(.*|é😀\n"


def alternation(words: list[str], katakana_alone: bool) -> re.Pattern[str]:
    """The regular expression that HojiChar makes of a list: the definition of what is counted."""
    alone = [word for word in words if katakana_alone and re.fullmatch("[ァ-ヴー]+", word)]
    parts = [re.escape(word) for word in words if word not in alone]
    if alone:
        inner = "|".join(re.escape(word) for word in alone)
        parts.append(f"(?<![ァ-ヴー])(?:{inner})(?![ァ-ヴー])")
    return re.compile("|".join(parts))


def random_words(choose: random.Random) -> list[str]:
    letters = choose.sample(ALPHABET, choose.randint(2, 8))
    count = choose.randint(1, 12)
    return ["".join(choose.choices(letters, k=choose.randint(1, 4))) for _ in range(count)]


def random_text(choose: random.Random, words: list[str]) -> str:
    """Words, parts of them and their neighbours' ends: overlaps are the rule."""
    parts = []
    for _ in range(choose.randint(0, 25)):
        word = choose.choice(words)
        start = choose.choice((0, 0, 0, 1))
        end = len(word) - choose.choice((0, 0, 0, 1))
        parts.append(word[start:end])
        if choose.random() < 0.3:
            parts.append(choose.choice(ALPHABET))
    return "".join(parts)


@pytest.mark.parametrize("katakana_alone", [False, True])
def test_counts_equal_the_alternation_on_random_lists_and_texts(katakana_alone):
    choose = random.Random(0)
    longest_count = differs_from_longest = touching = 0
    for _ in range(3000):
        words = random_words(choose)
        counter = KeywordCounter(words, katakana_alone=katakana_alone)
        pattern = alternation(words, katakana_alone)
        longest_first = alternation(sorted(words, key=len, reverse=True), katakana_alone)
        anywhere = alternation(words, False)
        for _ in range(3):
            text = random_text(choose, words)
            expected = len(pattern.findall(text))
            assert counter.count(text) == expected, (words, text)
            for limit in (0, 1, 3, 10):
                assert counter.exceeds(text, limit) is (expected > limit), (words, text)
            longest_count = max(longest_count, expected)
            differs_from_longest += expected != len(longest_first.findall(text))
            touching += expected != len(anywhere.findall(text))
    # The cases are not too tame to tell a wrong rule from the right one.
    assert longest_count > 10
    assert differs_from_longest > 100
    assert touching > 100 or not katakana_alone


@pytest.mark.parametrize("name", ["adult", "discrimination", "violence", "advertisement"])
def test_counts_equal_the_alternation_for_hojichars_own_lists(name):
    words = list(load_word_list(f"hojichar_{name}"))
    katakana_alone = name != "advertisement"
    counter = KeywordCounter(words, katakana_alone=katakana_alone)
    pattern = alternation(words, katakana_alone)
    choose = random.Random(name)
    for _ in range(300):
        text = random_text(choose, words)
        assert counter.count(text) == len(pattern.findall(text)), text


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (
            ["ab", "abc", "bc"],
            "abcbc",
            2,
        ),  # the first of the list wins, and what follows is read on from its end
        (["abc", "ab", "c"], "abcabc", 2),
        (["aa"], "aaaaa", 2),
        (["アス"], "アス", 1),
        (["アス"], "アスパラガス", 0),
        (["アス"], "ーアス", 0),  # the long vowel mark is katakana here
        (["アス"], "ｱアスｱ", 1),  # half-width forms are not
        (["アス"], "ヷアス・", 1),
        (["アス", "パアス"], "パアス", 1),
        (["アスあ"], "パアスあ", 1),  # not of katakana alone
        (["ス", "アス 花"], "アス 花", 1),
    ],
)
def test_words_are_matched_leftmost_first_and_katakana_alone(words, text, expected):
    assert KeywordCounter(words, katakana_alone=True).count(text) == expected
    assert len(alternation(words, True).findall(text)) == expected


def test_a_document_is_kept_up_to_the_limit_and_dropped_above(tmp_path):
    (tmp_path / "words").write_text("アス\n毒\n")
    words = {"word_list": str(tmp_path / "words")}
    document = {"text": "毒とアスと毒とアスパラ", "meta": {}}
    for step in (adult, discrimination, violence):
        assert step(document, limit=3, **words)
        assert not step(document, limit=2, **words)
    # Advertisements are counted wherever they are.
    assert advertisements(document, limit=4, **words)
    assert not advertisements(document, limit=3, **words)


def test_each_filter_has_its_own_list_of_hojichar():
    for name, step in {
        "ADULT": adult,
        "DISCRIMINATION": discrimination,
        "VIOLENCE": violence,
    }.items():
        assert not step({"text": f"<TEST_STRING_OF_{name}_KEYWORD>", "meta": {}}, limit=0)
        for other in {"ADULT", "DISCRIMINATION", "VIOLENCE"} - {name}:
            assert step({"text": f"<TEST_STRING_OF_{other}_KEYWORD>", "meta": {}}, limit=0)
    assert not advertisements({"text": "営業時間", "meta": {}}, limit=0)


def test_filters_read_the_paragraphs_of_a_document_that_has_them():
    paragraphs = [
        {"path": "p", "text": text, "link_chars": 0} for text in ("<TEST_STRING_OF_", "x")
    ]
    document = {"text": "<TEST_STRING_OF_ADULT_KEYWORD>", "meta": {}, "paragraphs": paragraphs}
    assert adult(document, limit=0)


def test_filters_can_be_sent_to_other_processes():
    assert pickle.loads(pickle.dumps(adult)) is adult


def test_a_list_that_is_not_there_is_a_users_error():
    with pytest.raises(UserError, match="hojichar_adlt.*did you mean hojichar_adult"):
        adult({"text": "", "meta": {}}, limit=1, word_list="hojichar_adlt")
