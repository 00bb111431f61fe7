"""One shard that is open: candidates from Tantivy, and what stands in them. The whole index is `corpus_index`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.search.scanning import Found, Stream
from llmjp_jax.search.terms import char_prefix, char_terms, id_terms, register, schema

# A phrase of so many terms, with the rarest in it, names the candidates; whether the rest stands there too is compared.
_PHRASE_TERMS = 8
_SAMPLED_TERMS = 64  # of a long needle: so many are asked how rare they are
# Fetching a candidate takes as long as scanning so many units: with more candidates than this allows, all is scanned.
_UNITS_PER_CANDIDATE = 2_000
# So many units are scanned while a phrase query goes past one document with its rarest term.
_UNITS_PER_POSTING = 300
_FEW = 200  # candidates that are always fetched
_RANKED_WORDS = 64


class Shard:
    """A part of a store: documents `first`..`stop - 1` of it, of which document `first` is row 0.

    Raises:
      UserError: a file of it is missing or cut.
    """

    def __init__(self, path: Path):
        import tantivy

        try:
            described = json.loads((path / "shard.json").read_bytes())
            self.first, self.stop = (described["identity"][name] for name in ("first", "stop"))
            dtype = np.dtype(described["dtype"]).newbyteorder("<")
            self.ids = _stream(path / "ids", dtype, self.stop - self.first)
            self.text = _stream(path / "text", np.uint8, self.stop - self.first)
            if not tantivy.Index.exists(str(path / "tantivy")):
                raise ValueError("its inverted index is not there")
            self._index = tantivy.Index.open(str(path / "tantivy"))
            register(self._index)
            self._searcher = self._index.searcher()
            if self._searcher.num_docs != self.stop - self.first:
                raise ValueError(f"its inverted index has {self._searcher.num_docs} documents")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"the part {path} of the index is damaged ({error}); remove that folder and index again") from None  # fmt: skip
        self._schema = schema()

    def find_ids(self, ids: np.ndarray) -> Found:
        """The documents with these token ids in a row: int64 [tokens], at least one."""
        if self.ids.is_common(ids):
            return self.ids.find(ids)
        return self.ids.find(ids, self._phrase("ids", id_terms(ids.tolist()), self.ids))

    def find_text(self, text: str) -> Found:
        """The documents with a text of at least one character."""
        needle, candidates = utf8(text), None
        if not self.text.is_common(needle):
            candidates = (
                self._character(text)
                if len(text) == 1
                else self._phrase("chars", char_terms(text, whole=False), self.text)
            )
        return self.text.find(needle, candidates)

    def rank(self, terms: Sequence[str], limit: int) -> tuple[int, list[tuple[float, int]]]:
        """How many documents have a word of `terms`, and the best of them as (BM25, row)."""
        import tantivy

        known = {term: self._searcher.doc_freq("words", term) for term in dict.fromkeys(terms)}
        chosen = sorted((term for term in known if known[term]), key=known.__getitem__)[
            :_RANKED_WORDS
        ]
        if not chosen:
            return 0, []
        queries = [
            (tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "words", term))
            for term in chosen
        ]
        found = self._searcher.search(
            tantivy.Query.boolean_query(queries), limit=max(1, limit), count=True
        )
        rows = self._searcher.fast_field_values("row", [address for _, address in found.hits])
        return found.count, [(score, row) for (score, _), row in zip(found.hits, rows, strict=True)]

    def origin(self, row: int) -> dict[str, Any]:
        """What is known of a document: `meta` of its line, and `place`, its file's number and line, or None."""
        import tantivy

        query = tantivy.Query.term_query(self._schema, "row", row)
        (_, address), *_ = self._searcher.search(query, limit=1, count=False).hits
        return json.loads(bytes(self._searcher.doc(address)["origin"][0]))

    def document_text(self, row: int) -> str:
        """The whole text of a document."""
        return self.text.document(row).tobytes().decode()

    # Which documents may hold a needle; None: so many that looking into all is quicker.

    def _phrase(self, field: str, terms: Sequence[str], stream: Stream) -> np.ndarray | None:
        import tantivy

        step = -(-len(terms) // _SAMPLED_TERMS)
        rarity = {
            place: self._searcher.doc_freq(field, terms[place])
            for place in range(0, len(terms), step)
        }
        rarest = min(rarity, key=rarity.__getitem__)
        first = max(0, min(rarest - _PHRASE_TERMS // 2, len(terms) - _PHRASE_TERMS))
        phrase = list(terms[first : first + _PHRASE_TERMS])
        if not rarity[rarest]:
            return np.zeros(0, np.int64)
        if rarity[rarest] * _UNITS_PER_POSTING > len(stream.units):
            return None
        if len(phrase) == 1:
            query = tantivy.Query.term_query(self._schema, field, phrase[0])
        else:
            query = tantivy.Query.phrase_query(self._schema, field, phrase, 0)
        return self._rows(query, rarity[rarest], stream)

    def _character(self, character: str) -> np.ndarray | None:
        import tantivy

        prefix = char_prefix(character)
        terms = self._searcher.terms_with_prefix("chars", prefix, limit=_FEW)
        if len(terms) == _FEW:
            return None
        names = [term for term, _ in terms]
        query = tantivy.Query.term_set_query(self._schema, "chars", names)
        return self._rows(query, sum(count for _, count in terms), self.text)

    def _rows(self, query: Any, most: int, stream: Stream) -> np.ndarray | None:
        """The rows that a query finds, at most `most`."""
        limit = max(_FEW, len(stream.units) // _UNITS_PER_CANDIDATE)
        found = self._searcher.search(query, limit=max(1, min(limit, most)), count=True)
        if found.count > len(found.hits):
            return None
        rows = self._searcher.fast_field_values("row", [address for _, address in found.hits])
        return np.sort(np.array(rows, np.int64))


def utf8(text: str) -> np.ndarray:
    """A text as units of `Shard.text`: int64 [bytes]."""
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


def _stream(stem: Path, dtype: np.dtype | type, documents: int) -> Stream:
    """A stream of a shard's folder.

    Raises:
      ValueError: its files do not belong together.
    """
    starts, frequency = (
        np.load(stem.with_name(f"{stem.name}.{part}.npy"), mmap_mode="r", allow_pickle=False).view(
            np.ndarray
        )
        for part in ("starts", "frequency")
    )
    path = stem.with_name(f"{stem.name}.bin")
    size = path.stat().st_size
    if len(starts) != documents + 1 or size != int(starts[-1]) * np.dtype(dtype).itemsize:
        raise ValueError(f"{path.name} has {size} bytes for {len(starts) - 1} documents")
    units = np.memmap(path, dtype, "r").view(np.ndarray) if size else np.zeros(0, dtype)
    return Stream(units, starts, frequency)
