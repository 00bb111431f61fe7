"""Filters and a map for Japanese text: kana at its start, sentences of ordinary length, lines of Japanese alone.

Source: HojiChar's AcceptJapanese and DiscardRareKuten; llm-jp-corpus, `scripts/filters.py`, extract_japanese_text.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.filters.paragraphs import document_text

_COMMON_KANA = re.compile("[ぁ-んァ-ン]")
_ASCII_RUN = 100
# One ASCII character with none before it, and those that follow: a run is looked at once, however long it is.
_LONG_ASCII = re.compile(rf"[\x00-\x7f](?<![\x00-\x7f][\x00-\x7f])[\x00-\x7f]{{{_ASCII_RUN - 1},}}")


def is_japanese(document: Document, *, lookup: int) -> bool:
    """Keeps a document with a hiragana or a katakana (ぁ-ん, ァ-ン) among its first `lookup` characters."""
    return _COMMON_KANA.search(document_text(document)[:lookup]) is not None


def average_sentence_length(document: Document, *, limit: float) -> bool:
    """Keeps a document with at least one 。 in `limit` characters on average."""
    text = document_text(document)
    return text.count("。") >= len(text) / limit


def extract_japanese(document: Document) -> Document:
    """Keeps the lines with kana, without web addresses and without runs of 100 and more ASCII characters.

    The lines that stay are joined with nothing between them, as LLM-jp's are: `"あ\\nA\\nい"` becomes `"あい"`.
    """
    kana, address = _kana(), _address()
    lines = []
    for line in document_text(document).split("\n"):
        if not kana.search(line):
            continue
        if "http" in line:
            line = address.sub("", line)
        if len(line) >= _ASCII_RUN:
            line = _LONG_ASCII.sub("", line)
        lines.append(line)
    document["text"] = "".join(lines)
    document.pop("paragraphs", None)
    return document


# The package regex has Unicode's scripts, and its \w is Unicode's, not that of `re`: combining marks end no address.
@functools.cache
def _kana() -> Any:
    import regex

    return regex.compile(r"[\p{Script=Hiragana}\p{Script=Katakana}ー]")


@functools.cache
def _address() -> Any:
    import regex

    return regex.compile(r"https?://[\w/:%#$&?()~.=+\-]+")
