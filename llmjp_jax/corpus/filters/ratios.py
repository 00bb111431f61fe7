"""Filters over one number of the whole document: length, shares of characters, compression. After Uzushio's.

Characters are Unicode's, of kept paragraphs. Uzushio counts UTF-16 units, and in all but the link ratio the two marks
around each link; its thresholds are kept.
"""

from __future__ import annotations

import math
import re

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.filters.paragraphs import kept_texts

_HIRAGANA = re.compile("[\u3040-\u309f]+")
_COMPRESSED_BYTES = 1 << 20  # at most; Uzushio's INPUT_SIZE


def doc_length(document: Document, *, low: int = 0, high: float = math.inf) -> bool:
    """Keeps a document of `low` to `high` characters, both included."""
    return low <= sum(map(len, kept_texts(document))) <= high


def hiragana_ratio(document: Document, *, low: float = 0.0, high: float = 1.0) -> bool:
    """Keeps a document whose share of characters in U+3040-309F is in [low, high]; of an empty one it is 0."""
    texts = kept_texts(document)
    hiragana = sum(len(run) for text in texts for run in _HIRAGANA.findall(text))
    return low <= _ratio(hiragana, sum(map(len, texts))) <= high


def link_char_ratio(document: Document, *, low: float = 0.0, high: float = 1.0) -> bool:
    """Keeps a document whose share of characters inside links is in [low, high]; without paragraphs it is 0."""
    links = sum(
        paragraph.get("link_chars", 0)
        for paragraph in document.get("paragraphs", ())
        if "removed" not in paragraph
    )
    return low <= _ratio(links, sum(map(len, kept_texts(document)))) <= high


def compression_rate(document: Document, *, low: float, high: float) -> bool:
    """Keeps a document whose LZ4 size over its size is in [low, high]: repetition is low, noise high.

    The first MiB of UTF-8 is compressed, as one block, by LZ4's fast compressor; paragraphs follow each other without a
    line break. An empty document has an infinite rate.
    """
    return low <= lz4_rate("".join(kept_texts(document))) <= high


def lz4_rate(text: str) -> float:
    """Compressed bytes over bytes of the first MiB of a text's UTF-8; infinite for an empty one."""
    import lz4.block

    data = text.encode("utf-8", "surrogatepass")
    if len(data) > _COMPRESSED_BYTES:
        end = _COMPRESSED_BYTES
        while data[end] & 0xC0 == 0x80:  # not within a character
            end -= 1
        data = data[:end]
    if not data:
        return math.inf
    return len(lz4.block.compress(data, mode="default", store_size=False)) / len(data)


def _ratio(count: int, total: int) -> float:
    return count / total if total else 0.0
