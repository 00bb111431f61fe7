"""A question as a page or a program puts it: what to look for, how, where, and which part of the answer."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from llmjp_jax.search.corpus_index import CorpusIndex
from llmjp_jax.search.results import DocumentId, Results, Where
from llmjp_jax.search.web.request import Refusal, Request

LONGEST = 10_000  # characters of a query, and of a text to attribute
# As on the command line: what they are called on the page, and what they find.
MODES = {
    "text": ("Exact text", "The text as it is: case, width and spaces count."),
    "ranked": ("Words", "Documents with these words, the best first."),
    "near": ("Meaning", "Documents that say something like it, the nearest first."),
    "tokens": (
        "As tokens",
        "The token ids that the vocabulary gives the text, as at the beginning of a document.",
    ),
    "ids": ("Token ids", "Token ids in a row, such as 412 87 7."),
}
EXACT = ("text", "tokens", "ids")
PAGE = 10  # hits
_MOST_HITS = 100  # of one answer
# How far ranked answers go: each one before costs time too.
_MOST_RANKED = 1_000


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to look for.

    Attributes:
      text: as it was written. mode: of `MODES`.
      subsets, splits: to look into; empty: all.
      limit, offset: hits. context: characters or tokens around a hit.
    """

    text: str
    mode: str = "text"
    subsets: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    limit: int = PAGE
    offset: int = 0
    context: int = 60

    @property
    def where(self) -> Where:
        return Where(self.subsets or None, self.splits or None)

    @property
    def page(self) -> int:
        """From 1."""
        return self.offset // PAGE + 1

    def query(self, page: int | None = None) -> str:
        """What an address has behind its question mark, for a page of this question's answer."""
        page = self.page if page is None else page
        fields = [("q", self.text), ("mode", self.mode)]
        fields += [("subset", name) for name in self.subsets]
        fields += [("split", name) for name in self.splits]
        return urlencode(fields + [("page", page)] * (page > 1))


def read_question(request: Request, index: CorpusIndex, modes: Iterable[str]) -> Question:
    """The question in a request's fields q, mode, subset, split and page, or limit, offset and context.

    Raises:
      Refusal: it is too long, or names what is not there.
    """
    text = request.field("q")
    check_length(text, "query")
    _one_of(mode := request.field("mode", "text"), tuple(modes), "mode")
    subsets = dict.fromkeys(subset for subset, _ in index.stores)
    splits = dict.fromkeys(split for _, split in index.stores)
    chosen_subsets = tuple(dict.fromkeys(request.fields.get("subset", ())))
    chosen_splits = tuple(dict.fromkeys(request.fields.get("split", ())))
    for chosen, known, what in (
        (chosen_subsets, subsets, "subset"),
        (chosen_splits, splits, "split"),
    ):
        for name in chosen:
            _one_of(name, tuple(known), what)
    limit = _number(request, "limit", PAGE, 0, _MOST_HITS)
    offset = _number(request, "offset", 0, 0, 10**12)
    page = _number(request, "page", 1, 1, 10**9)
    question = Question(
        text=text,
        mode=mode,
        subsets=chosen_subsets,
        splits=chosen_splits,
        limit=limit,
        offset=offset or PAGE * (page - 1),
        context=_number(request, "context", 60, 0, 500),
    )
    if mode not in EXACT and question.offset + limit > _MOST_RANKED:
        raise Refusal(
            400, f"Only the {_MOST_RANKED:,} best documents are ranked; ask more exactly."
        )
    return question


def last_page(question: Question, results: Results) -> int:
    """The last page that there is."""
    documents = results.counts.documents
    if question.mode not in EXACT:
        documents = min(documents, _MOST_RANKED)
    return max(1, -(-documents // PAGE))


def ask(question: Question, index: CorpusIndex, near: Any | None) -> Results:
    """The answer. `near`: the index's dense part, for the mode of that name.

    Raises:
      Refusal: its ids are none.
    """
    part = {"where": question.where, "limit": question.limit}
    if question.mode == "near":
        whole = near.nearest(question.text, question.where, question.offset + question.limit)
        return Results(
            counts=whole.counts,
            by_store=whole.by_store,
            hits=whole.hits[question.offset :],
            seconds=whole.seconds,
        )
    part["offset"] = question.offset
    if question.mode == "ranked":
        return index.rank(question.text, **part)
    part["context"] = question.context
    if question.mode == "text":
        return index.find_text(question.text, **part)
    return index.find_tokens(needle_ids(question, index), **part)


def needle_ids(question: Question, index: CorpusIndex) -> list[int]:
    """The token ids that a question of the mode `ids` or `tokens` looks for.

    Raises:
      Refusal: a word of it is no token id.
    """
    if question.mode == "tokens":
        check_whole(question.text)
        return index.vocabulary.encode(question.text)
    words = re.split(r"[\s,]+", question.text.strip(" \t\r\n,\u3000"))
    for word in words:
        if not re.fullmatch(r"\d{1,18}", word, re.ASCII):
            raise Refusal(400, f"{word[:40]!r} is no token id; write whole numbers with spaces between them.")  # fmt: skip
    return [int(word) for word in words]


def check_length(text: str, what: str) -> None:
    """Refuses a text of more than `LONGEST` characters."""
    if len(text) > LONGEST:
        raise Refusal(413, f"The {what} has {len(text):,} characters, and {LONGEST:,} are the most; give a part of it.")  # fmt: skip


def check_whole(text: str) -> None:
    """Refuses half a character (a lone surrogate)."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Refusal(400, "The text has half a character (a lone surrogate); correct it.")


def read_document_id(parts: Sequence[str], index: CorpusIndex) -> DocumentId:
    """The document that SUBSET/SPLIT/NUMBER names.

    Raises:
      Refusal: the index has none of that name.
    """
    info = index.stores.get(tuple(parts[:2])) if len(parts) == 3 else None
    number = parts[2] if info and re.fullmatch(r"\d{1,18}", parts[2], re.ASCII) else None
    if number is None:
        raise Refusal(404, "There is no such document; an address of one is /document/SUBSET/SPLIT/NUMBER.")  # fmt: skip
    if int(number) >= info.documents:
        raise Refusal(404, f"There is no such document: {info.subset}/{info.split} has {info.documents:,}, counted from 0.")  # fmt: skip
    return DocumentId(info.subset, info.split, int(number))


def _one_of(name: str, known: Sequence[str], what: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name[:100], known, 1, 0)
        hint = f", did you mean {near[0]}?" if near else "."
        raise Refusal(400, f"There is no {what} {name[:100]!r}{hint}")


def _number(request: Request, name: str, default: int, low: int, high: int) -> int:
    written = request.field(name)
    if not written:
        return default
    if not re.fullmatch(r"\d{1,15}", written, re.ASCII) or not low <= int(written) <= high:
        raise Refusal(400, f"{name} must be a whole number from {low:,} to {high:,}.")
    return int(written)
