"""Passages: together they are the text, none is too long, and they end where sentences do."""

from __future__ import annotations

import random

import pytest

from llmjp_jax.search.dense.passages import cut
from tests.search.small_corpora import ODD, documents


def words(texts):
    return [len(text.split()) for text in texts]


def characters(texts):
    return [len(text) for text in texts]


def shown(text, count, limit):
    return [text[start:stop] for start, stop in cut(text, count, limit)]


def test_sentences_fill_a_passage_until_it_is_full():
    assert shown("A b. C d. E f.", words, 4) == ["A b. C d.", "E f."]
    assert shown("本を読む。猫だ！「え？」と犬。", characters, 8) == [
        "本を読む。猫だ！",
        "「え？」と犬。",
    ]
    assert shown("one\ntwo three\n\n  four", words, 2) == ["one", "two three", "four"]


def test_a_short_text_is_one_passage_and_an_empty_one_none():
    assert cut("Hello. Bye.", words, 128) == [(0, 11)]
    assert cut("", words, 128) == cut(" \n\t\u3000", words, 128) == []


def test_a_sentence_that_is_too_long_is_halved_at_a_space():
    assert shown("a b c d e f g h.", words, 3) == ["a b", "c d", "e f", "g h."]
    assert shown("あ" * 10, characters, 3) == ["ああ", "あああ", "ああ", "あああ"]
    assert shown("😀", lambda texts: [9 for _ in texts], 3) == ["😀"]


@pytest.mark.parametrize("limit", [1, 7, 40, 1000])
def test_nothing_but_white_space_is_lost_and_no_passage_is_longer_than_the_limit(limit):
    choose = random.Random(limit)
    sentences = documents("ja", 60) + documents("en", 60) + documents("code", 1) + ODD
    for _ in range(30):
        text = choose.choice(["", "\n", " "]).join(choose.sample(sentences, 12))
        spans = cut(text, characters, limit)
        assert all(start < stop for start, stop in spans) and spans == sorted(spans)
        assert all(stop - start <= limit for start, stop in spans)
        gaps = zip([0, *(stop for _, stop in spans)], [start for start, _ in spans] + [len(text)], strict=True)  # fmt: skip
        assert all(stop - start >= 0 and not text[start:stop].strip() for start, stop in gaps)


def test_cutting_takes_time_in_proportion_to_the_text():
    asked = 0

    def count(texts):
        nonlocal asked
        asked += sum(map(len, texts))
        return characters(texts)

    text = "x" * 200_000
    assert len(cut(text, count, 100)) == 2048
    assert asked < 20 * len(text)
