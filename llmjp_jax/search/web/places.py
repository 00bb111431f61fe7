"""Where in a document's text that stands which a question looks for, and a text with these places marked."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from llmjp_jax.corpus.pipeline.report_elements import Markup, element, join
from llmjp_jax.search.corpus_index import CorpusIndex
from llmjp_jax.search.results import IndexedDocument
from llmjp_jax.search.spans import Span
from llmjp_jax.search.terms import word_terms
from llmjp_jax.search.web.question import Question, needle_ids

_MOST = 10_000  # places of a document
# What may be a word of a ranked question: a pair of characters of a script without spaces, or letters and digits in a row.
_UNSPACED = re.compile(r"[\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\u0e00-\u0e7f\U00020000-\U0003ffff]+")  # fmt: skip
_WORD = re.compile(rf"(?:(?!{_UNSPACED.pattern[:-1]})\w)+")
_DECODED_BEFORE = 8  # tokens that are decoded before a piece, so that it gets its space


def places_of(question: Question, document: IndexedDocument, index: CorpusIndex) -> tuple[str, list[Span]]:  # fmt: skip
    """The text of a document to show, and the places in it, overlapping ones too, by start; at most 10,000.

    The text is that of the document, or for a search by ids, where the vocabulary does not cut this text into the document's
    ids, what the ids decode to.
    """
    if question.mode == "text":
        return document.text, list(itertools.islice(_occurrences(document.text, question.text), _MOST))  # fmt: skip
    if question.mode in ("ids", "tokens"):
        return _token_places(needle_ids(question, index), document, index)
    if question.mode == "ranked":
        return document.text, word_places(document.text, question.text)
    return document.text, []


def word_places(text: str, words: str) -> list[Span]:
    """Where in a text the words of a ranked question stand, by start."""
    known = frozenset(word_terms(words))
    is_known = cache(lambda piece: not known.isdisjoint(word_terms(piece)))
    found = [Span(*piece.span()) for piece in _WORD.finditer(text) if is_known(piece[0])]
    for run in _UNSPACED.finditer(text):
        start, stop = run.span()
        if stop - start == 1:
            found += [Span(start, stop)] * is_known(run[0])
        found += [Span(n, n + 2) for n in range(start, stop - 1) if is_known(text[n : n + 2])]
    return sorted(found)[:_MOST]


def merged(spans: Iterable[Span], gap: int = 0) -> list[Span]:
    """Spans, by start, with those that overlap, or touch, or are at most `gap` apart, made one."""
    result: list[Span] = []
    for span in spans:
        if result and span.start <= result[-1].stop + gap:
            result[-1] = Span(result[-1].start, max(result[-1].stop, span.stop))
        else:
            result.append(span)
    return result


def separate(spans: Iterable[Span]) -> list[Span]:
    """Spans, by start, with those that overlap made one; those that only touch stay apart."""
    result: list[Span] = []
    for span in spans:
        if result and span.start < result[-1].stop:
            result[-1] = Span(result[-1].start, max(result[-1].stop, span.stop))
        else:
            result.append(span)
    return result


def marked(text: str, spans: Sequence[Span], start: int = 0, stop: int | None = None, first: int | None = None) -> Markup:  # fmt: skip
    """The part [start, stop) of a text with what lies in `spans`, which do not overlap, marked.

    Args:
      first: number of the first mark's anchor, `match-N`; None: no anchors.
    """
    stop = len(text) if stop is None else stop
    pieces, done = [], start
    inside = (span for span in spans if span.start < stop and span.stop > start)
    for number, span in enumerate(inside, first or 0):
        low, high = max(span.start, start), min(span.stop, stop)
        id = None if first is None else f"match-{number}"
        pieces += [text[done:low], element("mark", text[low:high], id=id)]
        done = high
    return join([*pieces, text[done:stop]])


def excerpt(text: str, spans: Sequence[Span], size: int = 240) -> tuple[int, int]:
    """The part of a text, of at most `size` characters, in which the most of `spans` begin; its beginning if there are none."""
    best, start, last = 0, 0, 0
    for first, span in enumerate(spans):
        last = max(last, first)
        while last < len(spans) and spans[last].start < span.start + size * 2 // 3:
            last += 1
        if last - first > best:
            best, start = last - first, span.start
    start = 0 if start < size // 3 else start - size // 6
    return start, min(len(text), start + size)


def _occurrences(text: str, needle: str) -> Iterator[Span]:
    place = text.find(needle)
    while place >= 0:
        yield Span(place, place + len(needle))
        place = text.find(needle, place + 1)


def _token_places(ids: Sequence[int], document: IndexedDocument, index: CorpusIndex) -> tuple[str, list[Span]]:  # fmt: skip
    tokens = document.tokens.tolist()
    if not ids:
        return document.text, []
    found = [
        Span(place, place + len(ids))
        for place in range(len(tokens) - len(ids) + 1)
        if tokens[place] == ids[0] and tokens[place : place + len(ids)] == list(ids)
    ][:_MOST]
    vocabulary = index.vocabulary
    content = tokens[:-1] if tokens and tokens[-1] == vocabulary.eos_id else tokens
    cut, offsets = vocabulary.offsets(document.text)
    if cut == content:
        size = len(document.text)
        ends = [offset[1] for offset in offsets] + [size]  # the end of the document has no text
        return document.text, [
            Span(ends[span.start - 1] if span.start else 0, ends[span.stop - 1]) for span in found
        ]
    return _decoded(tokens, found, vocabulary)


def _decoded(tokens: list[int], found: Sequence[Span], vocabulary) -> tuple[str, list[Span]]:
    """What ids decode to, and where spans of them come to lie in it."""
    edges = sorted({0, len(tokens), *itertools.chain.from_iterable(found)})
    pieces, places, size = [], {0: 0}, 0
    for start, stop in itertools.pairwise(edges):
        before = tokens[max(0, start - _DECODED_BEFORE) : start]
        piece = vocabulary.decode(before + tokens[start:stop])[len(vocabulary.decode(before)) :]
        pieces.append(piece)
        size += len(piece)
        places[stop] = size
    return "".join(pieces), [Span(places[span.start], places[span.stop]) for span in found]
