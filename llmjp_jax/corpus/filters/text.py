"""Filters that read a document's text in any language: whether there is any, and how well it compresses."""

from __future__ import annotations

import math
import zlib

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.filters.paragraphs import document_text


def not_empty(document: Document) -> bool:
    """Keeps a document whose text has something besides white space."""
    text = document_text(document)
    return bool(text) and not text.isspace()


def compression_ratio(
    document: Document, *, low: float, high: float, length_factor: float = 0.0
) -> bool:
    """Keeps a document whose compressed bytes are between `low` and `high` of its UTF-8 bytes, both included.

    Compression is zlib's at level 9. Another implementation of it (zlib-ng under the same name) gives other lengths, by a
    few bytes. Long texts compress better; `length_factor` times the natural logarithm of the UTF-8 bytes, added to the
    ratio, makes up for that (LLM-jp: 0). An empty text has no ratio and is dropped; the reference ends with an error there.

    Source: llm-jp-corpus, `scripts/filters.py`, has_good_compression_ratio.
    """
    data = document_text(document).encode()
    if not data:
        return False
    ratio = compressed_bytes(data) / len(data)
    if length_factor:
        ratio += length_factor * math.log(len(data))
    return low <= ratio <= high


def compressed_bytes(data: bytes) -> int:
    """The number of bytes that zlib makes of these at level 9."""
    return len(zlib.compress(data, 9))
