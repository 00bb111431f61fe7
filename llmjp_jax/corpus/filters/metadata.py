"""Filters that read a document's `meta`: the domain of a web page, the component of the Pile, the figures of The Stack.

Source: llm-jp-corpus, `scripts/filters.py` and `scripts/filter_data.py`. The rules for code are those of RedPajama.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.filters.word_lists import load_word_list
from llmjp_jax.errors import UserError

# These pages come with the corpus of Wikipedia.
_JAPANESE_WIKIPEDIA = "https://ja.wikipedia.org/"


def valid_domain(
    document: Document,
    *,
    word_list: str = "llm_jp_domains",
    folder: str | os.PathLike | None = None,
) -> bool:
    """Keeps a page whose `meta.url` has one of the top-level domains of the list, and is not of the Japanese Wikipedia.

    A page whose address has no host, or cannot be read as an address, is dropped; the reference ends with an error there.

    Raises:
      UserError: `meta.url` is missing or not a string; the list cannot be loaded.
    """
    url = _field(document, "url", str, "valid_domain")
    if url.startswith(_JAPANESE_WIKIPEDIA):
        return False
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return False
    return host is not None and host.rpartition(".")[2] in _word_set(word_list, folder)


def not_pile_set(document: Document, *, names: Collection[str]) -> bool:
    """Keeps a document of the Pile that is of none of these components (`meta.pile_set_name`, such as `Books3`).

    Raises:
      UserError: `meta.pile_set_name` is missing or not a string.
    """
    return _field(document, "pile_set_name", str, "not_pile_set") not in names


def valid_extension(
    document: Document,
    *,
    word_list: str = "llm_jp_extensions",
    folder: str | os.PathLike | None = None,
) -> bool:
    """Keeps a file of code whose extension, `meta.ext`, is in the list; upper and lower case differ.

    Raises:
      UserError: `meta.ext` is missing or not a string; the list cannot be loaded.
    """
    return _field(document, "ext", str, "valid_extension") in _word_set(word_list, folder)


def max_line_length(document: Document, *, limit: float) -> bool:
    """Keeps a file whose longest line, `meta.max_line_length`, has at most `limit` characters.

    Raises:
      UserError: `meta.max_line_length` is missing or not a number.
    """
    return _field(document, "max_line_length", (int, float), "max_line_length") <= limit


def average_line_length(document: Document, *, limit: float) -> bool:
    """Keeps a file whose lines have at most `limit` characters on average, by `meta.avg_line_length`.

    Raises:
      UserError: `meta.avg_line_length` is missing or not a number.
    """
    return _field(document, "avg_line_length", (int, float), "average_line_length") <= limit


def alphanum_fraction(document: Document, *, low: float) -> bool:
    """Keeps a file of whose characters at least the share `low` is alphanumeric, by `meta.alphanum_fraction`.

    Raises:
      UserError: `meta.alphanum_fraction` is missing or not a number.
    """
    return _field(document, "alphanum_fraction", (int, float), "alphanum_fraction") >= low


def _field(document: Document, name: str, kind: type | tuple[type, ...], step: str) -> Any:
    value = document["meta"].get(name)
    if isinstance(value, kind):
        return value
    if name not in document["meta"]:
        problem = f"has no meta.{name}"
    else:
        problem = f"has {value!r:.40} as meta.{name}, which is not a {'string' if kind is str else 'number'}"
    raise UserError(
        f"a document {problem}; the filter {step} reads it, so add it or leave the filter out"
    )


@functools.cache
def _word_set(word_list: str, folder: str | os.PathLike | None) -> frozenset[str]:
    return frozenset(load_word_list(word_list, folder))
