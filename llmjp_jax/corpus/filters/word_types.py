"""The filter that counts how many different words of a list a document has. After Uzushio's."""

from __future__ import annotations

import functools
import os

from ahocorasick_rs import AhoCorasick, MatchKind

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.filters.paragraphs import kept_texts
from llmjp_jax.corpus.filters.word_lists import load_word_list
from llmjp_jax.errors import UserError


def word_types(
    document: Document,
    *,
    word_list: str,
    threshold: int,
    kind: str = "uniq",
    folder: str | os.PathLike | None = None,
) -> bool:
    """Keeps a document with fewer than `threshold` different words of the list.

    A text is read from left to right; where words begin, the longest is taken, and reading goes on after it. Lines of
    the list that begin with `#` are no words. Uzushio's own lists are HojiChar's (`hojichar_adult`,
    `hojichar_discrimination`).

    Args:
      kind: `uniq`. (Uzushio names two more, `sqrt` and `log10`, whose code never ends.)
      word_list, folder: those of `load_word_list`, whose errors this raises.

    Raises:
      UserError: there is no such kind.
    """
    if kind != "uniq":
        raise UserError(f"word_types has no kind {kind!r}; give kind='uniq'")
    automaton = _automaton(word_list, folder)
    found: set[int] = set()
    for text in kept_texts(document):
        found.update(match[0] for match in automaton.find_matches_as_indexes(text))
        if len(found) >= threshold:
            return False
    return len(found) < threshold


@functools.cache
def _automaton(word_list: str, folder: str | os.PathLike | None) -> AhoCorasick:
    words = dict.fromkeys(load_word_list(word_list, folder))  # a word that stands twice is one
    patterns = [word for word in words if not word.startswith("#")]
    return AhoCorasick(patterns, matchkind=MatchKind.LeftmostLongest)
