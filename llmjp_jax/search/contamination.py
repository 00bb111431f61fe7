"""How much of an evaluation item stands in a training corpus, word for word: one item against an index.

A unit of a text is covered when it lies in an n-gram of the text that stands verbatim in one document. Units are characters where
a text is Japanese, and token ids of the index's vocabulary in any other. An item's question and answer are looked up each by itself,
since what stands between them differs with every way of writing them down. Which items there are is `evaluated_items`; what is
written about them is `contamination_record`.

It tells copies and not paraphrases or translations; and token ids at the edge of a copy may be cut otherwise than within a
document, so that `covered` is what is surely there, and may be a little more.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.report.contamination import CLEAN, DIRTY, PARTIAL, TOO_SHORT
from llmjp_jax.search.corpus_index import CorpusIndex
from llmjp_jax.search.results import Results, Where
from llmjp_jax.search.spans import Span, longest_spans

# Kana and Han characters, against Latin letters. A filter's question, whether there is any kana, would take a name in Han
# characters, a dozen tokens of bytes, for a text that can be judged, and English about a Japanese word for Japanese.
_JAPANESE = re.compile(
    "[\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_LATIN = re.compile("[A-Za-z]")

CHARACTERS, TOKENS = "characters", "tokens"
TRAINING = Where(splits=("train",))  # no model was taught the other splits

_ANSWER_DOCUMENTS = 20  # so many documents of the question are looked through for the answer
_TELLING_ANSWER = 2  # characters; a single one, as of a choice, stands everywhere


@dataclass(frozen=True, kw_only=True)
class Limits:
    """From what length and share on a copy counts.

    Attributes:
      n: of an n-gram, in token ids. 13, in words, is what Brown et al. 2020 (GPT-3, appendix C) use.
      n_characters: in characters, of Japanese text.
      fewest: a text of fewer units (or than n, if that is less) is too short to judge: such texts are found everywhere. 8, in
        words, is the least n of Brown et al. 2020. A text of fewer than n units counts if it stands in a document whole.
      clean_below, dirty_from: shares of units covered; 20 % and 80 % are those of Touvron et al. 2023 (Llama 2, appendix A.6),
        who take token n-grams longer than 10 and let four tokens differ; here every unit must be the same.

    Raises:
      UserError: a number is out of range.
    """

    n: int = 13
    n_characters: int = 13
    fewest: int = 8
    clean_below: float = 0.2
    dirty_from: float = 0.8

    def __post_init__(self) -> None:
        for name in ("n", "n_characters", "fewest"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise UserError(f"{name} = {value!r} must be a whole number of at least 1")
        if not 0 < self.clean_below <= self.dirty_from <= 1:
            raise UserError(
                f"clean_below = {self.clean_below} and dirty_from = {self.dirty_from} must be shares above 0 and up to 1, "
                "the first not above the second"
            )

    def mark(self, covered: float | None) -> str:
        """The word for a share of covered units."""
        if covered is None:
            return TOO_SHORT
        return CLEAN if covered < self.clean_below else DIRTY if covered >= self.dirty_from else PARTIAL  # fmt: skip


class Question(NamedTuple):
    """An item as it is asked: its number in its task, the question, and the gold answer as its file has it and as it is scored."""

    index: int
    input: str
    output: str
    gold: str


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The longest stretch of a text that stands verbatim in a document, and where.

    Attributes:
      part: 'input' or 'output'. unit, units: how long it is.
      documents, occurrences: how many hold it and how often. where: some of them: document, source, licence.
    """

    part: str
    text: str
    unit: str
    units: int
    documents: int
    occurrences: int
    where: tuple[dict[str, str | None], ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The question or the answer of an item by itself.

    Attributes:
      unit: 'characters' or 'tokens'. units, characters: its length in units and in characters.
      covered: share of its units in verbatim n-grams; None where it is too short to judge.
    """

    unit: str
    units: int
    characters: int
    covered: float | None


@dataclass(frozen=True, kw_only=True)
class Checked:
    """An item against the corpus.

    Attributes:
      mark: of `covered`, which is the mean of its parts weighted by characters, without those that are too short.
      longest: of both parts, by characters.
      with_answer: whether one of the first documents with the longest stretch of the question holds the answer as well, outside
        it; None where the question is clean, and where the answer is a single character or stands in the question itself.
    """

    question: Question
    mark: str
    covered: float | None
    input: Part
    output: Part
    longest: Stretch | None
    with_answer: bool | None


def is_japanese(text: str) -> bool:
    """Whether a text has kana or Han characters, and no more Latin letters than these."""
    return len(_JAPANESE.findall(text)) >= max(1, len(_LATIN.findall(text)))


def check(
    index: CorpusIndex,
    questions: Iterable[Question],
    *,
    limits: Limits = Limits(),
    where: Where = TRAINING,
    documents: int = 3,
    threads: int = 4,
) -> Iterator[Checked]:
    """Items against an index, in their order, several at a time.

    Args:
      where: which stores to look into.
      documents: of each item's longest stretch, so many are named.

    Raises:
      UserError: `where` names what the index does not have, or a number is below 1.
    """
    for name, value in (("documents", documents), ("threads", threads)):
        if type(value) is not int or value < 1:
            raise UserError(f"{name} = {value!r} must be a whole number of at least 1")
    index.contains_tokens([0], where)  # an unknown store is told before anything is begun
    stopped = threading.Event()

    def one(question: Question) -> Checked | None:
        return None if stopped.is_set() else check_item(index, question, limits, where, documents)

    with ThreadPoolExecutor(threads) as pool:
        try:
            yield from pool.map(one, questions)
        finally:
            stopped.set()  # who stops reading waits for no more than what is under way


def check_item(
    index: CorpusIndex,
    question: Question,
    limits: Limits = Limits(),
    where: Where = TRAINING,
    documents: int = 3,
) -> Checked:
    """One item against an index; see `check`."""
    sides = {name: _Side(getattr(question, name), index, limits, where) for name in ("input", "output")}  # fmt: skip
    parts = {name: side.part for name, side in sides.items()}
    judged = [part for part in parts.values() if part.covered is not None]
    covered = None
    if judged:
        covered = sum(part.covered * part.characters for part in judged) / sum(part.characters for part in judged)  # fmt: skip
    name, side = max(sides.items(), key=lambda one: len(one[1].longest))
    return Checked(
        question=question,
        mark=limits.mark(covered),
        covered=covered,
        **parts,
        longest=_stretch(name, side, documents) if side.longest else None,
        with_answer=_with_answer(sides["input"], question.output, index, limits),
    )


class _Side:
    """A text, what of it stands in the corpus, and its longest stretch."""

    def __init__(self, text: str, index: CorpusIndex, limits: Limits, where: Where):
        self._index, self._where = index, where
        self.text = text = text.strip()
        japanese = is_japanese(text)
        self._ids, places = ([], []) if japanese else index.vocabulary.offsets(text)
        self.unit, self.units = (CHARACTERS, len(text)) if japanese else (TOKENS, len(self._ids))
        n = limits.n_characters if japanese else limits.n
        judged = self.units >= min(limits.fewest, n)
        # Whole texts are looked for as text, whatever ids they are cut into within a document.
        self._whole = judged and index.contains_text(text, where)
        spans = []
        if self._whole:
            spans = [Span(0, self.units)]
        elif self.units >= n:
            spans = longest_spans(self.units, self._contains(japanese), n)
        covered = _union(spans) / self.units if judged else None
        self.part = Part(unit=self.unit, units=self.units, characters=len(text), covered=covered)
        self.span = max(spans, key=lambda span: span.stop - span.start, default=Span(0, 0))
        self.longest = ""
        if self._whole:
            self.longest = text
        elif spans:
            start, stop = self.span
            self.longest = text[start:stop] if japanese else text[places[start][0] : places[stop - 1][1]]  # fmt: skip

    def _contains(self, japanese: bool) -> Callable[[int, int], bool]:
        index, where = self._index, self._where
        if japanese:
            return lambda start, stop: index.contains_text(self.text[start:stop], where)
        unknown = index.vocabulary.unk_id  # stands for any character, and so is no copy of one

        def contains(start: int, stop: int) -> bool:
            ids = self._ids[start:stop]
            return unknown not in ids and index.contains_tokens(ids, where)

        return contains

    def find(self, limit: int) -> Results:
        """The documents that hold the longest stretch."""
        if self._whole or self.unit == CHARACTERS:
            return self._index.find_text(self.longest, self._where, limit=limit, context=0)
        ids = self._ids[self.span.start : self.span.stop]
        return self._index.find_tokens(ids, self._where, limit=limit, context=0)


def _union(spans: Iterable[Span]) -> int:
    """How many units lie in any of the spans, which come by start."""
    covered = reached = 0
    for start, stop in spans:
        covered += max(0, stop - max(start, reached))
        reached = max(reached, stop)
    return covered


def _stretch(part: str, side: _Side, documents: int) -> Stretch:
    results = side.find(documents)
    return Stretch(
        part=part,
        text=side.longest,
        unit=side.unit,
        units=side.span.stop - side.span.start,
        documents=results.counts.documents,
        occurrences=results.counts.occurrences,
        where=tuple(
            {"document": str(hit.document), "source": hit.source, "licence": hit.licence}
            for hit in results.hits
        ),
    )


def _with_answer(question: _Side, answer: str, index: CorpusIndex, limits: Limits) -> bool | None:
    answer = answer.strip()
    if limits.mark(question.part.covered) in (CLEAN, TOO_SHORT):
        return None
    if len(answer) < _TELLING_ANSWER or answer in question.text:
        return None
    for hit in question.find(_ANSWER_DOCUMENTS).hits:
        text = index.document(hit.document).text
        if answer in text.replace(question.longest, "\0", 1):
            return True
    return False
