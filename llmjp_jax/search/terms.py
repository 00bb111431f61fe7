"""What the index calls a term: of token ids, of characters, and of words; and the schema that holds them.

Tantivy's own n-gram tokenizer puts every n-gram at the same position, so that a phrase of them never matches. Here each unit of
a document is one term at a position of its own, terms are separated by spaces, and a phrase query is an exact match:

    ids    the token ids as they are                          5 17 7        -> 5 17 7
    chars  each character with the next one, the last alone   東京都        -> 東京 京都 都
    words  for ranking: words in lower case, and of text without spaces between words each pair of characters

No word segmentation of Japanese is needed. White space within a term of `chars` is written as noncharacters of Unicode, which
text does not hold; should it hold one all the same, a candidate is found that is none, and checking it against the text drops it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

FIELDS = ("ids", "chars", "words")
WHITESPACE = "whitespace_only"  # the analyzer's name: nothing but a split at white space

# The characters that Rust's char::is_whitespace takes for white space (Unicode's White_Space, 25 of them).
_SPACES = "\t\n\x0b\x0c\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B)))
_SPACES += "\u2028\u2029\u202f\u205f\u3000"
_UNSPACED = {ord(space): 0xFDD0 + number for number, space in enumerate(_SPACES)}

# Scripts that are written without spaces between words: kana, Han, Hangul, Thai. Else: letters, digits and marks in a row.
_UNSEGMENTED = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\u0e00-\u0e7f\U00020000-\U0003ffff"
_WORD = re.compile(rf"([{_UNSEGMENTED}]+)|((?:(?![{_UNSEGMENTED}])\w)+)")
_LONGEST_WORD = 100  # characters; a longer one is data, such as base64, and is cut


def id_terms(ids: Iterable[int]) -> list[str]:
    """The terms of token ids, one each."""
    return [str(token) for token in ids]


def char_terms(text: str, whole: bool = True) -> list[str]:
    """The terms of a text's characters: every pair, and with `whole`, as a document has it, the last one alone."""
    text = text.translate(_UNSPACED)
    pairs = [a + b for a, b in zip(text, text[1:], strict=False)]
    return pairs + [text[-1]] if whole and text else pairs


def char_prefix(character: str) -> str:
    """With what the terms of a single character begin."""
    return character.translate(_UNSPACED)


def word_terms(text: str) -> list[str]:
    """The words by which documents are ranked, in order, repeats included."""
    terms = []
    for run, word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        if word:
            terms.append(word[:_LONGEST_WORD])
        elif len(run) == 1:
            terms.append(run)
        else:
            terms += [a + b for a, b in zip(run, run[1:], strict=False)]
    return terms


def schema() -> Any:
    """Tantivy's schema of a shard: `row` is the document's number in it, `origin` JSON of what is known about it."""
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("row", stored=False, indexed=True, fast=True)
    for name in FIELDS:
        option = "freq" if name == "words" else "position"
        builder.add_text_field(name, stored=False, tokenizer_name=WHITESPACE, index_option=option)
    builder.add_bytes_field("origin", stored=True, indexed=False)
    return builder.build()


def register(index: Any) -> None:
    """Makes the analyzer known to an index; needed each time that one is opened."""
    import tantivy

    analyzer = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
    index.register_tokenizer(WHITESPACE, analyzer)
