"""What is marked in a document is what the search counted there, and nothing of a text is lost by marking it."""

from __future__ import annotations

import html
import random
import re

import pytest

from llmjp_jax.search import DocumentId
from llmjp_jax.search.spans import Span
from llmjp_jax.search.web.places import excerpt, marked, merged, places_of, separate, word_places
from llmjp_jax.search.web.question import Question
from tests.search.brute_force import text_query


def test_every_occurrence_of_a_text_has_its_place_in_the_document(index, small_corpora):
    choose = random.Random(0)
    texts = small_corpora.texts["ja", "train"]
    found = 0
    for _ in range(150):
        question = Question(text=text_query(choose, texts))
        for hit in index.find_text(question.text, limit=3).hits:
            text, places = places_of(question, index.document(hit.document), index)
            assert len(places) == hit.occurrences and places[0].start == hit.start
            assert all(text[place.start : place.stop] == question.text for place in places)
            found += 1
    assert found > 100


def test_every_occurrence_of_token_ids_has_its_place_in_the_text(index):
    choose = random.Random(1)
    found = 0
    for number in choose.sample(range(1000), 100):
        document = index.document(DocumentId("ja", "train", number))
        ids = document.tokens.tolist()
        start, size = choose.randrange(len(ids)), choose.randint(1, 4)
        needle = ids[start : start + size]
        question = Question(text=" ".join(map(str, needle)), mode="ids")
        text, places = places_of(question, document, index)
        starts = [n for n in range(len(ids)) if ids[n : n + len(needle)] == needle]
        assert text == document.text and len(places) == len(starts)
        decoded = index.vocabulary.decode(needle).strip()
        if "\ufffd" not in decoded:
            assert [text[a:b].strip() for a, b in places] == [decoded] * len(starts)
            found += bool(decoded)
    assert found > 50


def test_ids_that_do_not_make_the_text_are_shown_decoded(index):
    document = index.document(DocumentId("ja", "train", 3))
    other = type(document)(**vars(document) | {"text": "another text"})
    needle = document.tokens[1:3].tolist()
    text, places = places_of(Question(text=" ".join(map(str, needle)), mode="ids"), other, index)
    assert text == document.text
    assert text[places[0].start : places[0].stop] == index.vocabulary.decode(needle)


def test_words_are_marked_whatever_their_case_and_not_inside_others():
    text = "The cat, the CAT and concatenate; 東京都の京都"
    assert [text[a:b] for a, b in word_places(text, "cat 京都")] == ["cat", "CAT", "京都", "京都"]
    assert word_places(text, "dog") == []


@pytest.mark.parametrize(
    ("spans", "apart", "together"),
    [
        ([(0, 2), (1, 3), (5, 6)], [(0, 3), (5, 6)], [(0, 3), (5, 6)]),
        ([(0, 2), (2, 4)], [(0, 2), (2, 4)], [(0, 4)]),
        ([], [], []),
    ],
)
def test_overlapping_places_become_one_mark(spans, apart, together):
    spans = [Span(*span) for span in spans]
    assert separate(spans) == apart and merged(spans) == together


def test_marking_changes_nothing_but_the_marks():
    choose = random.Random(2)
    for _ in range(200):
        text = "".join(choose.choices("ab<>&\"'\n猫 /mark", k=30))
        cuts = sorted(choose.sample(range(31), 6))
        spans = [Span(*cuts[:2]), Span(*cuts[2:4]), Span(*cuts[4:])]
        start, stop = sorted(choose.sample(range(31), 2))
        made = marked(text, spans, start, stop, 1)
        assert html.unescape(re.sub(r"</?mark[^>]*>", "", made)) == text[start:stop]
        inside = [text[max(a, start) : min(b, stop)] for a, b in spans if a < stop and b > start]
        assert [html.unescape(one) for one in re.findall(r'<mark id="match-\d">(.*?)</mark>', made, re.S)] == inside  # fmt: skip


def test_an_excerpt_is_where_most_of_the_words_are():
    text = "x" * 1000 + "cat " * 5 + "y" * 1000 + "cat"
    start, stop = excerpt(text, word_places(text, "cat"))
    assert start < 1000 < 1020 < stop and stop - start == 240
    assert excerpt("short", []) == (0, 5)
