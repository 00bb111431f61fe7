"""What of a text stands in the training corpus word for word: its longest spans, the documents that hold them, and when a model
saw these. Showing it is for `highlight`.

    with CorpusIndex("index") as index:
        for span in attribute("吾輩は猫である。名前はまだ無い。", index).spans:
            print(span.text, span.counts)

It says where words stand, not where a model has them from: that is for the reader to judge, by how long a span is and how rare.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from llmjp_jax.errors import UserError
from llmjp_jax.search.corpus_index import CorpusIndex
from llmjp_jax.search.results import Counts, DocumentId, Hit, Where
from llmjp_jax.search.spans import Span, longest_spans
from llmjp_jax.search.token_places import TokenPlaces

if TYPE_CHECKING:
    from llmjp_jax.search.trace import Seen, Trace

LONGEST_TEXT = 100_000  # characters
# Bytes in UTF-8, and only of letters and digits: 10 kana or kanji, or 30 Latin letters, which are some seven words. Bytes, since the
# same sentence takes about as many in Japanese as in English. Of the quick start's validation sentences, which nobody copied, the
# training split has 17 % in spans of so much in Japanese and 3 % in English; of 24 bytes it has 35 % and 8 %.
MINIMUM = 30
_REMEMBERED = 1 << 16  # answers about short stretches: models repeat themselves
_SHORT = 200


@dataclass(frozen=True, kw_only=True)
class SpanDocument:
    """A document that holds a span.

    Attributes:
      hit: the document, and the first place of the span in it.
      tokens: which of the document's tokens hold that place, [first, last + 1); None without a trace.
      whole: `tokens` are all tokens of the document, since its ids neither decode to its text nor are what its text is cut into.
      steps: the rows in which these tokens, or a part of them, are seen, by step; empty without a trace.
    """

    hit: Hit
    tokens: tuple[int, int] | None = None
    whole: bool = False
    steps: tuple[Seen, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AttributedSpan:
    """A stretch of a text that stands in the corpus as it is, and with a character more of the text does not.

    Attributes:
      start, stop: where it lies in the text, [start, stop) in characters.
      size: bytes in UTF-8 of its letters and digits.
      counts: of all documents that hold it. documents: the first of them.
    """

    start: int
    stop: int
    text: str
    size: int
    counts: Counts
    documents: tuple[SpanDocument, ...]

    @property
    def hits(self) -> tuple[Hit, ...]:
        return tuple(document.hit for document in self.documents)

    @property
    def steps(self) -> tuple[Seen, ...]:
        """Where it is seen, in any of `documents`, by step."""
        return tuple(
            sorted(
                (seen for document in self.documents for seen in document.steps),
                key=lambda seen: (seen.step, seen.row),
            )
        )


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """A text with its spans.

    Attributes:
      spans: the largest first, of equal ones the one that fewer documents hold. Two may overlap; none lies in another.
      covered: the share of the text's characters that lie in any of them.
      minimum: bytes of letters and digits that a span has at least.
      trained_steps: steps that the traced run has made: what it saw later, it has yet to see. None without a trace.
    """

    text: str
    spans: tuple[AttributedSpan, ...]
    covered: float
    minimum: int
    trained_steps: int | None = None


def attribute(
    text: str,
    index: CorpusIndex,
    *,
    trace: Trace | None = None,
    where: Where = Where(),
    minimum: int = MINIMUM,
    documents: int = 5,
    progress: bool = True,
) -> Attribution:
    """The longest spans of a text that stand in a corpus, every one of them, with the documents that hold them.

    What is compared is the text as it is: case, width, white space and line ends count. A span reaches as far as the corpus
    has it, also into the middle of a word.

    Args:
      text: at most `LONGEST_TEXT` characters.
      trace: of a run, to say when the documents are seen.
      where: the stores to look into.
      minimum: size of a span: bytes in UTF-8 of its letters and digits. White space and punctuation count nothing, so that no
        span is made of them alone.
      documents: that are named of each span, the first in the index; its counts are of all.
      progress: show a bar on stderr when it takes longer than a few seconds.

    Raises:
      UserError: the text is empty, too long or has half a character, `minimum` is not positive, `documents` is negative,
        `where` names what is not there, or the index is not of the stores that the traced run was trained on.
    """
    _check(text, minimum, documents)
    if trace is not None:
        trace.check_stores(index.stores)
    spans = _spans(text, index, where, minimum, progress)
    found = _Documents(index, trace, where, documents)
    attributed = []
    with _bar(progress, len(spans), "documents", "span") as bar:
        for span in spans:
            attributed.append(found.of(text[span.start : span.stop], span))
            bar.update()
    return Attribution(
        text=text,
        spans=tuple(sorted(attributed, key=_rank)),
        covered=_union(spans) / len(text),
        minimum=minimum,
        trained_steps=None if trace is None else trace.trained_steps,
    )


def read_text(path: str | os.PathLike) -> str:
    """The whole content of a file as it is, its line ends included.

    Raises:
      UserError: there is no such file, or it is empty, far too long, or not UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path} to read a text from; correct the path")
    if path.stat().st_size > 4 * LONGEST_TEXT:  # a character has at most four bytes
        raise UserError(f"{path} has more than the {LONGEST_TEXT:,} characters that are the most; give a part of it")  # fmt: skip
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; correct that") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 (byte {error.start}); write it anew in UTF-8"
        ) from None
    if not text:
        raise UserError(f"{path} is empty; give a file with a text in it")
    return text


class _Documents:
    """The documents of spans; what is found is kept, since a text may say the same twice."""

    def __init__(self, index: CorpusIndex, trace: Trace | None, where: Where, limit: int):
        self._index, self._trace = index, trace
        self._find = functools.lru_cache(maxsize=1000)(
            lambda text: index.find_text(text, where, limit=limit)
        )
        self._places = functools.lru_cache(maxsize=64)(self._read_places)

    def of(self, text: str, span: Span) -> AttributedSpan:
        results = self._find(text)
        return AttributedSpan(
            start=span.start,
            stop=span.stop,
            text=text,
            size=_size(text),
            counts=results.counts,
            documents=tuple(map(self._traced, results.hits)),
        )

    def _traced(self, hit: Hit) -> SpanDocument:
        if self._trace is None:
            return SpanDocument(hit=hit)
        places = self._places(hit.document)
        tokens = places.range(hit.start, hit.start + len(hit.match))
        steps = tuple(self._trace.seen(hit.document, *tokens))
        return SpanDocument(hit=hit, tokens=tokens, whole=not places.known, steps=steps)

    def _read_places(self, id: DocumentId) -> TokenPlaces:
        return TokenPlaces(self._index.document(id), self._index.vocabulary)


def _spans(text: str, index: CorpusIndex, where: Where, minimum: int, progress: bool) -> list[Span]:
    sizes = [0, *accumulate(map(_size, text))]
    known = functools.lru_cache(_REMEMBERED)(lambda part: index.contains_text(part, where))
    with _bar(progress, len(text), "spans", "character") as bar:

        def contains(start: int, stop: int) -> bool:
            bar.update(max(0, start - bar.n))
            part = text[start:stop]
            return known(part) if stop - start <= _SHORT else index.contains_text(part, where)

        return longest_spans(len(text), contains, _least_stops(sizes, minimum))


def _size(text: str) -> int:
    return sum(len(character.encode()) for character in text if character.isalnum())


def _least_stops(sizes: list[int], minimum: int) -> list[int]:
    """For each start the first stop with `minimum` more of what `sizes` counts up to each place; one too far if there is none."""
    stops, stop = [], 0
    for size in sizes[:-1]:
        while stop < len(sizes) and sizes[stop] - size < minimum:
            stop += 1
        stops.append(stop)
    return stops


def _union(spans: list[Span]) -> int:
    """How many places lie in spans, which are in order."""
    covered = end = 0
    for start, stop in spans:
        covered += stop - max(start, end)
        end = stop
    return covered


def _rank(span: AttributedSpan) -> tuple[int, int, int]:
    return -span.size, span.counts.documents, span.start


def _check(text: str, minimum: int, documents: int) -> None:
    if not text:
        raise UserError("the text is empty; give one of at least one character")
    if len(text) > LONGEST_TEXT:
        raise UserError(
            f"the text has {len(text):,} characters, and {LONGEST_TEXT:,} are the most; give a part of it"
        )
    half = next((place for place, c in enumerate(text) if "\ud800" <= c <= "\udfff"), None)
    if half is not None:
        raise UserError(f"the text has half a character (a lone surrogate) at {half}; correct it")
    if minimum < 1:
        raise UserError(f"the smallest span has at least 1 byte, not {minimum}; correct it")
    if documents < 0:
        raise UserError(f"{documents} documents cannot be named; give 0 or more")


def _bar(progress: bool, total: int, what: str, unit: str):
    from tqdm import tqdm

    return tqdm(
        total=total, desc=what, unit=f" {unit}", delay=2, leave=False, disable=not progress,
        mininterval=0.5,
    )  # fmt: skip
