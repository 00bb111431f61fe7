"""Search of an index: what stands in the training corpus, in how many documents, how often, and where it comes from.

    with CorpusIndex("index") as index:
        index.find_text("吾輩は猫である").counts

Every document is searched for itself, with its end-of-document token: what crosses its end is no hit. Overlapping occurrences
count each. Counts are exact. Making an index is `indexing`.
"""

from __future__ import annotations

import functools
import heapq
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.search.folder import SHARDS, TOKENIZER, Contents, StoreInfo
from llmjp_jax.search.results import Counts, DocumentId, Hit, IndexedDocument, Results, Where
from llmjp_jax.search.scanning import Found
from llmjp_jax.search.shard import Shard, utf8
from llmjp_jax.search.terms import word_terms
from llmjp_jax.search.texts import licence_of
from llmjp_jax.tokenizer import Vocabulary, load_vocabulary

Store = tuple[str, str]


class CorpusIndex:
    """An index that is open for reading; several threads may ask at once.

    What is added to the folder later is seen by those who open it later.

    Attributes:
      stores: what is known of each (subset, split), in the order in which they were indexed.

    Raises:
      UserError: the folder is no index, or a part of it is damaged.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        contents = Contents.read(self.folder)
        self.stores: Mapping[Store, StoreInfo] = {(s.subset, s.split): s for s in contents.stores}
        self._fingerprint = contents.vocabulary
        self._shards = {
            store: tuple(Shard(self.folder / SHARDS / name) for name in info.shards)
            for store, info in self.stores.items()
        }

    def __enter__(self) -> CorpusIndex:
        return self

    def __exit__(self, *_: Any) -> None:
        self._shards = {}

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of its stores, from the index's own copy."""
        found = load_vocabulary(self.folder / TOKENIZER)
        if found.fingerprint != self._fingerprint:
            raise UserError(f"{self.folder / TOKENIZER} is not the vocabulary that the index was made with; index again")  # fmt: skip
        return found

    def find_text(
        self, text: str, where: Where = Where(), limit: int = 10, offset: int = 0, context: int = 60
    ) -> Results:
        """The documents in which a text stands verbatim, by their numbers; see `find_tokens`.

        Args:
          text: as it is: case, width and white space count.
          context: characters before and after.
        """
        needle = _checked_text(text)
        return self._find(
            where, limit, offset, lambda shard: shard.find_text(needle),
            lambda shard, row: _text_context(shard, row, needle, context),
        )  # fmt: skip

    def find_tokens(
        self,
        ids: Iterable[int],
        where: Where = Where(),
        limit: int = 10,
        offset: int = 0,
        context: int = 60,
    ) -> Results:
        """The documents in which token ids stand in a row, by their numbers.

        The same text can be cut into other ids elsewhere: this finds one tokenisation, `find_text` all.

        Args:
          ids: at least one.
          where: the stores to look into. limit, offset: which of the documents become hits; counts are of all.
          context: tokens before and after.

        Raises:
          UserError: there is nothing to look for, or `where` names what is not there.
        """
        needle = _checked_ids(ids)
        return self._find(
            where, limit, offset, lambda shard: shard.find_ids(needle),
            lambda shard, row: self._token_context(shard, row, needle, context),
        )  # fmt: skip

    def count_text(self, text: str, where: Where = Where()) -> Counts:
        """In how many documents a text stands, and how often."""
        needle = _checked_text(text)
        return _total(_counts(shard.find_text(needle)) for _, shard in self.chosen(where))

    def count_tokens(self, ids: Iterable[int], where: Where = Where()) -> Counts:
        """In how many documents token ids stand in a row, and how often."""
        needle = _checked_ids(ids)
        return _total(_counts(shard.find_ids(needle)) for _, shard in self.chosen(where))

    def contains_text(self, text: str, where: Where = Where()) -> bool:
        """Whether a text stands in any document."""
        needle = _checked_text(text)
        return any(len(shard.find_text(needle).rows) for _, shard in self.chosen(where))

    def contains_tokens(self, ids: Iterable[int], where: Where = Where()) -> bool:
        """Whether token ids stand in a row in any document."""
        needle = _checked_ids(ids)
        return any(len(shard.find_ids(needle).rows) for _, shard in self.chosen(where))

    def rank(self, text: str, where: Where = Where(), limit: int = 10, offset: int = 0) -> Results:
        """The documents with the words of a text, the best first by BM25; the 64 rarest words of each part count.

        How rare a word is, is counted in each part of the index by itself, so that scores of different stores are alike only
        roughly.
        """
        begin, terms = time.perf_counter(), word_terms(_checked_text(text))
        by_store, best = {}, []
        for store, shard in self.chosen(where):
            count, found = shard.rank(terms, offset + limit)
            before = by_store.get(store, Counts(0, 0))
            by_store[store] = Counts(before.documents + count, 0)
            best += [(score, DocumentId(*store, shard.first + row)) for score, row in found]
        best = heapq.nsmallest(offset + limit, best, key=lambda one: (-one[0], one[1]))[offset:]
        hits = tuple(self.beginning(document, score=score) for score, document in best)
        return Results(
            counts=_total(by_store.values()),
            by_store=by_store,
            hits=hits,
            seconds=time.perf_counter() - begin,
        )

    def document(self, id: DocumentId) -> IndexedDocument:
        """A document, whole.

        Raises:
          UserError: the index has no such document.
        """
        shard, row = self._place(id)
        meta, source, licence = self._origin(id, shard, row)
        return IndexedDocument(
            id=id,
            text=shard.document_text(row),
            tokens=shard.ids.document(row),
            meta=meta,
            source=source,
            licence=licence,
        )

    def beginning(self, id: DocumentId, characters: int = 240, score: float | None = None) -> Hit:
        """A document as a hit that shows how its text begins."""
        shard, row = self._place(id)
        _, source, licence = self._origin(id, shard, row)
        text = shard.text.document(row)[: 4 * characters].tobytes().decode(errors="ignore")
        return Hit(
            document=id, start=0, occurrences=0, before="", match="", after=text[:characters],
            source=source, licence=licence, score=score,
        )  # fmt: skip

    def documents(self, store: Store) -> Iterator[IndexedDocument]:
        """All documents of a (subset, split), in order."""
        for number in range(self.stores[store].documents):
            yield self.document(DocumentId(*store, number))

    # How it is found.

    def _find(
        self,
        where: Where,
        limit: int,
        offset: int,
        find: Callable[[Shard], Found],
        context: Callable,
    ) -> Results:
        begin = time.perf_counter()
        by_store: dict[Store, Counts] = {}
        chosen: list[tuple[Store, Shard, int, int]] = []
        passed = 0
        for store, shard in self.chosen(where):
            found = find(shard)
            by_store[store] = _total([by_store.get(store, Counts(0, 0)), _counts(found)])
            low, high = max(0, offset - passed), max(0, offset + limit - passed)
            some = (array[low:high].tolist() for array in found)
            chosen += [(store, shard, *one) for one in zip(*some, strict=True)]
            passed += len(found.rows)
        hits = tuple(self._hit(*one, context) for one in chosen)
        return Results(
            counts=_total(by_store.values()),
            by_store=by_store,
            hits=hits,
            seconds=time.perf_counter() - begin,
        )

    def _hit(self, store: Store, shard: Shard, row: int, count: int, context: Callable) -> Hit:
        id = DocumentId(*store, shard.first + row)
        _, source, licence = self._origin(id, shard, row)
        start, before, match, after = context(shard, row)
        return Hit(
            document=id, start=start, occurrences=count, before=before, match=match, after=after,
            source=source, licence=licence,
        )  # fmt: skip

    def _token_context(
        self, shard: Shard, row: int, needle: np.ndarray, context: int
    ) -> tuple[int, str, str, str]:
        """Where a match begins, and the text around it; pieces of a character that is cut into bytes show as U+FFFD."""
        start, size = shard.ids.first(needle, row), len(needle)
        ids = shard.ids.document(row)[max(0, start - context) : start + size + context].tolist()
        lead = min(start, context)
        decode = self.vocabulary.decode
        before, whole = decode(ids[:lead]), decode(ids)
        until = decode(ids[: lead + size])
        return start, before, until[len(before) :], whole[len(until) :]

    def _origin(
        self, id: DocumentId, shard: Shard, row: int
    ) -> tuple[Mapping[str, Any], str, str | None]:
        """The meta, source and licence of a document."""
        origin, info = shard.origin(row), self.stores[id.subset, id.split]
        meta, place = origin["meta"], origin["place"]
        names = [
            str(meta[field]) for field in ("url", "id") if isinstance(meta.get(field), str | int)
        ][:1]
        names.append(
            f"{info.files[place[0]]}, line {place[1]}"
            if place
            else f"document {id.number} of the token store"
        )
        return meta, "; ".join(names), licence_of(meta, info.licence)

    def _place(self, id: DocumentId) -> tuple[Shard, int]:
        for shard in self._shards.get((id.subset, id.split), ()):
            if shard.first <= id.number < shard.stop:
                return shard, id.number - shard.first
        info = self.stores.get((id.subset, id.split))
        there = (
            f"{id.subset}/{id.split} has {info.documents}"
            if info
            else f"its stores are {self._names()}"
        )
        raise UserError(f"the index {self.folder} has no document {id}; {there}")

    def chosen(self, where: Where = Where()) -> list[tuple[Store, Shard]]:
        """The parts of the stores that `where` names, in order.

        Raises:
          UserError: it names a subset or split that is not there.
        """
        for wanted, place, what in ((where.subsets, 0, "subset"), (where.splits, 1, "split")):
            for name in wanted or ():
                if all(store[place] != name for store in self.stores):
                    raise UserError(
                        f"the index {self.folder} has no {what} {name!r}; its stores are {self._names()}"
                    )
        return [
            (store, shard)
            for store, shards in self._shards.items()
            if (where.subsets is None or store[0] in where.subsets)
            and (where.splits is None or store[1] in where.splits)
            for shard in shards
        ]

    def _names(self) -> str:
        return ", ".join("/".join(store) for store in self.stores)


def _text_context(shard: Shard, row: int, needle: str, context: int) -> tuple[int, str, str, str]:
    """Where in characters a match begins, and the text around it."""
    start = shard.text.first(utf8(needle), row)
    text = shard.text.document(row).tobytes()
    before, end = text[:start].decode(), start + len(needle.encode())
    after = text[end : end + 4 * context].decode(errors="ignore")[:context]
    return len(before), before[max(0, len(before) - context) :], needle, after


def _checked_text(text: str) -> str:
    if not text:
        raise UserError("there is nothing to look for; give a text of at least one character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError("the text has half a character (a lone surrogate); correct it") from None
    return text


def _checked_ids(ids: Iterable[int]) -> np.ndarray:
    try:
        needle = np.fromiter(ids, np.int64)
    except (OverflowError, TypeError, ValueError):
        raise UserError("token ids are whole numbers below 2^63; correct them") from None
    if not len(needle):
        raise UserError("there is nothing to look for; give at least one token id")
    if needle.min() < 0:
        raise UserError(f"token id {needle.min()} is negative; correct it")
    return needle


def _counts(found: Found) -> Counts:
    return Counts(len(found.rows), int(found.counts.sum()))


def _total(counts: Iterable[Counts] | Sequence[Counts]) -> Counts:
    documents, occurrences = 0, 0
    for one in counts:
        documents, occurrences = documents + one.documents, occurrences + one.occurrences
    return Counts(documents, occurrences)
