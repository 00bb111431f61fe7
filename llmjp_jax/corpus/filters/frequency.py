"""What is done with how often a paragraph, or one like it, is in the corpus. The counting is `dedup`'s. After Uzushio's."""

from __future__ import annotations

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.filters.paragraphs import (
    count_of_share,
    kept_paragraphs,
    paragraphs_of,
    remove_runs,
)

_WORD = (1 << 64) - 1
_HASH_START = 0xDEADBEEFFEED133
_HASH_MULTIPLIER = 6364136223846793005
_HASH_ADDEND = 1442695040888963407


def large_freq_paragraphs(document: Document, *, count: int, freq: int) -> Document:
    """Removes runs of `count` or more paragraphs whose `near_freq` is at least `freq`.

    What is a run, also at the start and end of the document: `remove_runs`. A `near_freq` that is not there is 1.
    """
    paragraphs = paragraphs_of(document)
    bad = [paragraph.get("near_freq", 1) >= freq for paragraph in paragraphs]
    remove_runs(paragraphs, bad, count, "large_freq_paragraphs")
    return document


def deduplicate_documents_percentile(
    document: Document, *, percentile: float, expected: float
) -> bool:
    """Keeps a document with the probability expected / f, f being the `percentile` of its paragraphs' `near_freq`.

    So of f copies of a document about `expected` are kept. The percentile is the sorted frequencies' element number
    int(n * percentile), from 0; a document without paragraphs is kept. The random number is `document_random`'s: the
    same for each step of this kind, so that what a strict step keeps, a mild one keeps too.
    """
    frequencies = sorted(paragraph.get("near_freq", 1) for paragraph in kept_paragraphs(document))
    if not frequencies:
        return True
    place = min(count_of_share(len(frequencies), percentile), len(frequencies) - 1)
    frequency = max(frequencies[place], 1)
    return document_random(document) <= expected / frequency


def document_random(document: Document) -> float:
    """A number in [0, 1) that is the document's own: of its `docId`, or of its text where it has none.

    It is Uzushio's (NgramHashExtractor.hashString, MathUtil.asRandomDouble), so that documents with its ids share the
    fate they had there.
    """
    identifier = document["meta"].get("docId") or document["text"]
    units = identifier.encode("utf-16-le", "surrogatepass")
    state = _HASH_START
    for low, high in zip(units[::2], units[1::2], strict=True):
        state = _mix(state, low | high << 8)
    return (_mix(state, len(units) // 2) & ((1 << 54) - 1)) / (1 << 54)


def _mix(state: int, value: int) -> int:
    product = ((value + _HASH_ADDEND ^ state) * _HASH_MULTIPLIER) & _WORD
    return product >> 23 | product << 41 & _WORD
