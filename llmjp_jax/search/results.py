"""What a search says: documents by name, where to look, counts, and hits with their context. Finding them is elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from llmjp_jax.errors import UserError

# A subset's own name may hold slashes: LLM-jp's corpora have Tasks SUBSET/FILE.
_DOCUMENT_ID = re.compile(r"([^\s/]+(?:/[^\s/]+)*)/([\w.-]+)/([0-9]+)")


class DocumentId(NamedTuple):
    """A document of a token store: `str()` of it is SUBSET/SPLIT/NUMBER.

    Attributes:
      subset: the Task whose store it is, which is also the name of a run's source.
      split: `train` or `validation`.
      number: its number in that store, from 0.
    """

    subset: str
    split: str
    number: int

    def __str__(self) -> str:
        return f"{self.subset}/{self.split}/{self.number}"

    @classmethod
    def parse(cls, text: str) -> DocumentId:
        """The document that `str()` wrote.

        Raises:
          UserError: it is not of the form SUBSET/SPLIT/NUMBER.
        """
        found = _DOCUMENT_ID.fullmatch(text)
        if not found:
            raise UserError(
                f"{text[:100]!r} names no document; write SUBSET/SPLIT/NUMBER, such as quickstart_ja/train/17"
            )
        return cls(found[1], found[2], int(found[3]))


@dataclass(frozen=True)
class Where:
    """Which stores to look into: those of these subsets and splits; None: of all."""

    subsets: tuple[str, ...] | None = None
    splits: tuple[str, ...] | None = None


class Counts(NamedTuple):
    """How many documents hold something, and how often all of them together do (overlapping ones counted each)."""

    documents: int
    occurrences: int


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A document that was found.

    Attributes:
      document: which one.
      start: where its first occurrence begins, in characters of its text, or in tokens for a search by ids; 0 where it was
        found by rank or nearness.
      occurrences: in this document; 0 where it was found by rank or nearness.
      before, match, after: text around the first occurrence and itself; of a ranked document, its beginning as `after`.
      source: file and line where it was read, or what its store knows. licence: None where nothing says it.
      score: of a ranked (BM25) or near (cosine) document; None for an exact hit.
    """

    document: DocumentId
    start: int
    occurrences: int
    before: str
    match: str
    after: str
    source: str
    licence: str | None
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Results:
    """An answer: `counts` of everything, `by_store` of each (subset, split) looked into, and some hits of these.

    A search by rank or nearness counts the documents that it ranked, and no occurrences.
    """

    counts: Counts
    by_store: Mapping[tuple[str, str], Counts]
    hits: tuple[Hit, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class IndexedDocument:
    """A document as the index keeps it: its text, token ids, and what is known of where it comes from."""

    id: DocumentId
    text: str
    tokens: Any  # [tokens] of the store's integer type, with the end-of-document token
    meta: Mapping[str, Any]
    source: str
    licence: str | None
