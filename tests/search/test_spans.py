"""All maximal spans are found, as by trying everything, with few questions."""

import random

import pytest

from llmjp_jax.search.spans import Span, longest_spans


class Corpus:
    """Documents in which stretches of a text are looked for; counts how often it is asked."""

    def __init__(self, text, documents):
        self.text, self.documents, self.asked, self.shortest = text, documents, 0, len(text)

    def contains(self, start, stop):
        assert 0 <= start < stop <= len(self.text)
        self.asked += 1
        self.shortest = min(self.shortest, stop - start)
        return self._holds(self.text[start:stop])

    def _holds(self, part):
        return any(part in document for document in self.documents)

    def every_span(self, least):
        """By trying every stretch: those that are contained and of which no longer stretch around them is."""
        size = len(self.text)
        held = {
            (a, b)
            for a in range(size)
            for b in range(a + 1, size + 1)
            if self._holds(self.text[a:b])
        }
        return [
            Span(a, b)
            for a, b in sorted(held)
            if (a - 1, b) not in held and (a, b + 1) not in held and b >= least[a]
        ]


def drawn(choose):
    """A text that has pieces of a corpus in it, over few letters or many."""
    letters = choose.choice(["ab", "abc", "abcdefgh"])
    write = lambda most: "".join(choose.choice(letters) for _ in range(choose.randrange(most)))  # noqa: E731
    documents = [write(30) for _ in range(choose.randrange(1, 5))]
    text = write(15)
    for _ in range(choose.randrange(3)):
        document = choose.choice(documents)
        start = choose.randrange(len(document) + 1)
        text += document[start : choose.randrange(start, len(document) + 1)] + write(5)
    return Corpus(text, documents)


def test_the_example_of_the_docstring():
    assert longest_spans(6, Corpus("abcdex", ["abcd", "cde"]).contains, 2) == [(0, 4), (2, 5)]


def test_spans_equal_those_found_by_trying_every_stretch():
    choose = random.Random(7)
    overlapping = several = 0
    for _ in range(3000):
        corpus, minimum = drawn(choose), choose.randrange(1, 8)
        size = len(corpus.text)
        found = longest_spans(size, corpus.contains, minimum)
        assert found == corpus.every_span(range(minimum, minimum + size)), (corpus.text, minimum)
        several += len(found) > 1
        overlapping += any(a.stop > b.start for a, b in zip(found, found[1:], strict=False))
    assert several > 500 and overlapping > 300


def test_the_least_stop_can_depend_on_the_start():
    choose = random.Random(8)
    for _ in range(1000):
        corpus = drawn(choose)
        size, weights = len(corpus.text), [choose.choice([0, 1, 1, 3]) for _ in corpus.text]
        minimum = choose.randrange(1, 9)
        least = [
            next((b for b in range(a, size + 1) if sum(weights[a:b]) >= minimum), size + 1)
            for a in range(size)
        ]
        assert longest_spans(size, corpus.contains, least) == corpus.every_span(least)


def test_a_sequence_that_is_contained_as_a_whole_takes_a_logarithm_of_questions():
    corpus = Corpus("a" * 1, ["a"])
    asked = 0

    def contains(start, stop):
        nonlocal asked
        asked += 1
        return True

    assert longest_spans(100_000, contains, 10) == [Span(0, 100_000)]
    assert asked < 50
    assert longest_spans(1, corpus.contains, 1) == [Span(0, 1)]


def test_where_nothing_is_contained_fewer_questions_are_asked_than_there_are_units():
    corpus = Corpus("x" * 5000, ["abc"])
    assert longest_spans(5000, corpus.contains, 30) == []
    assert corpus.asked < 2500
    assert corpus.shortest >= 14  # short parts, which take an index long, are left alone


@pytest.mark.parametrize("minimum", [1, 2, 5, 20])
def test_never_more_than_four_questions_a_unit_are_asked(minimum):
    choose = random.Random(minimum)
    most = 0
    for _ in range(300):
        corpus = drawn(choose)
        longest_spans(len(corpus.text), corpus.contains, minimum)
        most = max(most, corpus.asked / max(20, len(corpus.text)))
    # Every span begins and ends one unit after the one before: the most that there can be.
    window = Corpus("".join(chr(256 + n) for n in range(400)), [])
    calls = []
    found = longest_spans(400, lambda a, b: calls.append(a) or b - a <= minimum, minimum)
    assert found == [Span(a, a + minimum) for a in range(400 - minimum + 1)]
    assert max(most, len(calls) / len(window.text)) <= 4


def test_a_text_shorter_than_a_span_and_an_empty_one_are_not_asked_for():
    assert longest_spans(0, None, 3) == longest_spans(2, None, 3) == []


def test_a_span_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one unit, not 0"):
        longest_spans(3, lambda a, b: True, 0)
