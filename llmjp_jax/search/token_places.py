"""Which tokens of a document hold a stretch of its text. Which text stands where is found elsewhere."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from llmjp_jax.search.results import IndexedDocument
from llmjp_jax.tokenizer import Vocabulary


class TokenPlaces:
    """The tokens of one document by the characters of its text.

    Where the vocabulary cuts the text into the document's ids, its own offsets say it, whatever it normalised; else, as in a
    store of tuning prompts, what the ids decode to says it, if that is the text.

    Attributes:
      known: whether one of these holds. If not, any stretch may be anywhere in the document.
    """

    def __init__(self, document: IndexedDocument, vocabulary: Vocabulary):
        ids = document.tokens.tolist()
        self._tokens = len(ids)
        if ids and ids[-1] == vocabulary.eos_id:
            ids.pop()
        self._cut = len(ids)
        # The space that a vocabulary puts before a text, which is not in it.
        self._lead = int(vocabulary.decode(ids[:1]) == "")
        cut, offsets = vocabulary.offsets(document.text)
        self.known = True
        self._end: Callable[[int], int]  # up to which character the tokens up to this one go
        if cut == ids:
            self._end = lambda place: offsets[place][1]
        elif (text := vocabulary.decode(ids)) == document.text:
            self._end = lambda place: _shared(vocabulary.decode(ids[: place + 1]), text)
        else:
            self.known = False

    def range(self, start: int, stop: int) -> tuple[int, int]:
        """The tokens, [first, last + 1), that hold any of the characters start..stop - 1, of which there is at least one.

            `図書館で` cut as `▁ 図書 館で`, the characters [2, 3)  ->  the tokens [2, 3)

        A character that is cut into bytes takes all of them in. If it is not `known`, all tokens of the document.
        """
        if not self.known:
            return 0, self._tokens
        first, last = max(self._lead, self._reaching(start)), self._reaching(stop)
        if start and first < self._cut and self._end(first) == start:
            first += 1  # it ends where the stretch begins
        return first, min(last + 1, self._cut)

    def _reaching(self, character: int) -> int:
        """The first token with which the text goes up to a character, or further."""
        return bisect_left(range(self._cut), character, key=self._end)


def _shared(beginning: str, text: str) -> int:
    """How many characters two texts begin with in common.

    U+FFFD at the end of `beginning` may be a part of a character. Where the text itself has U+FFFD, cut into bytes, one of them
    passes for all three: a stretch that begins behind it then takes in the other two.
    """
    size = min(len(beginning), len(text))
    while beginning[:size] != text[:size]:
        size -= 1
    return size
