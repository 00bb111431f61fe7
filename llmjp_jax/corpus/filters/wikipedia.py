"""Maps for Wikipedia's articles: no sections of notes and links at the end, no parentheses that lost what they held.

Source: llm-jp-corpus, `scripts/filters.py`, remove_wikipedia_footnote and remove_empty_parenthesis.
"""

from __future__ import annotations

import functools
import os
import re

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.filters.paragraphs import document_text
from llmjp_jax.corpus.filters.word_lists import load_word_list

# Unicode's White_Space, which is what \s means to the reference; Python's own \s has U+001C to U+001F besides.
_WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def cut_footnotes(
    document: Document,
    *,
    word_list: str = "llm_jp_footnotes",
    folder: str | os.PathLike | None = None,
) -> Document:
    """Cuts the text before the first line that is one of the headings of the list, white space after it allowed.

    The first line of a text is never cut at, nor is a last line that no newline ends: the reference wants both newlines.

    Raises:
      UserError: the list cannot be loaded.
    """
    text = document_text(document)
    heading = _headings(word_list, folder).search(text)
    return document if heading is None else _with_text(document, text[: heading.start()])


def clean_parentheses(document: Document) -> Document:
    """Removes space and separators at both ends inside （） and (), then the pairs that are left empty.

    `"東京（とうきょう、 ）は (, ) 都"` becomes `"東京（とうきょう）は 都"`: an empty () goes with one white space before it.
    """
    text = document_text(document)
    if "（" in text or "）" in text:
        text = _strip_inside(text, "（", "）", _WHITE_SPACE + ",，、;；").replace("（）", "")
    if "(" in text or ")" in text:
        text = _strip_inside(text, "(", ")", _WHITE_SPACE + ",;")
        *before, last = text.split("()")
        text = "".join([*(_without_last_space(part) for part in before), last])
    return _with_text(document, text)


def _with_text(document: Document, text: str) -> Document:
    document["text"] = text
    document.pop("paragraphs", None)
    return document


def _strip_inside(text: str, opening: str, closing: str, characters: str) -> str:
    # Splitting is linear in the text; `[...]*\)` would try every run of spaces from each of its characters.
    first, *parts = text.split(opening)
    text = opening.join([first, *(part.lstrip(characters) for part in parts)])
    *parts, last = text.split(closing)
    return closing.join([*(part.rstrip(characters) for part in parts), last])


def _without_last_space(text: str) -> str:
    return text[:-1] if text and text[-1] in _WHITE_SPACE else text


@functools.cache
def _headings(word_list: str, folder: str | os.PathLike | None) -> re.Pattern[str]:
    headings = "|".join(re.escape(word) for word in load_word_list(word_list, folder))
    return re.compile(rf"\n(?:{headings})[{_WHITE_SPACE.replace(chr(10), '')}]*\n")
