"""Documents of a corpus in KNP's format, and the texts that its annotation points at: with brackets, mentions, predicates.

A document is a file of sentences: a comment line with its number, then bunsetsu (`*`), base phrases (`+`, which carry the
annotation) and morphemes. rhoknp reads it. What llm-jp-eval asks about a document is in `wikipedia`.

Some brackets of the text were cut out when it was annotated: the sentence's comment says `括弧削除`, and the text between them
is a sentence of its own, right after it, whose comment says what the brackets were and where: `括弧始:（ 括弧終:） 括弧位置:2`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmjp_jax.errors import UserError

if TYPE_CHECKING:
    from rhoknp import BasePhrase, Document, Morpheme, Phrase, Sentence

_BRACKETS = re.compile(r"括弧始:(\S+) 括弧終:(\S+) 括弧位置:(\d+)")
_PARTICLES = ("助詞", "特殊")
_COPULA = ("判定詞",)


def read_document(path: Path) -> Document:
    """The document in a .knp file.

    Raises:
      UserError: the file is missing, or not in KNP's format.
    """
    from rhoknp import Document

    # It tells of annotation that does not fit its text; llm-jp-eval leaves that out, and so do we.
    logging.getLogger("rhoknp").setLevel(logging.ERROR)
    try:
        return Document.from_knp(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing; the raw data is not complete, download it again"
        ) from None
    except (ValueError, AssertionError, IndexError) as error:
        raise UserError(
            f"{path} is not in KNP's format ({error}); download it again, tag v1.1.2 of the corpus"
        ) from None


def sentences_outside_brackets(document: Document) -> list[Sentence]:
    """The sentences that were not cut out of others."""
    return [sentence for sentence in document.sentences if "括弧始" not in sentence.comment]


def without_brackets(document: Document) -> Document:
    """The document read anew without the sentences that were cut out, and so without references to them."""
    from rhoknp import Document

    return Document.from_knp("".join(s.to_knp() for s in sentences_outside_brackets(document)))


def text_with_brackets(document: Document) -> str:
    """The text, with the bracket put back into each sentence that lost one.

    A sentence that lost several gets the first one back; the texts of the others follow it without brackets, as in
    llm-jp-eval: its wiki_ner and wiki_pas ask about such texts.
    """
    texts = []
    sentences = iter(document.sentences)
    for sentence in sentences:
        text = sentence.text
        if "括弧削除" in sentence.comment:
            cut_out = next(sentences, None)
            found = _BRACKETS.search(cut_out.comment) if cut_out is not None else None
            if found is None:
                raise UserError(
                    f"sentence {sentence.sid} lost a bracket, but the next one does not say where it was"
                )
            start, end, position = found[1], found[2], int(found[3])
            text = text[:position] + start + cut_out.text + end + text[position:]
        texts.append(text)
    return "".join(texts)


def mention_text(base_phrase: BasePhrase) -> str:
    """What a base phrase stands for: itself and what modifies it within its bunsetsu, without particles at either end."""
    phrase = base_phrase.phrase
    neighbours = phrase.base_phrases
    first = last = neighbours.index(base_phrase)
    while last + 1 < len(neighbours) and _depends_on(neighbours[last + 1], base_phrase, phrase):
        last += 1
    while first > 0 and _depends_on(neighbours[first - 1], base_phrase, phrase):
        first -= 1
    morphemes = [m for part in neighbours[first : last + 1] for m in part.morphemes]
    return _stripped(morphemes, _PARTICLES + _COPULA, _PARTICLES + _COPULA)


def predicate_text(phrase: Phrase) -> str:
    """A bunsetsu as a predicate: without particles at either end, but with a copula at its end."""
    return _stripped(phrase.morphemes, _PARTICLES + _COPULA, _PARTICLES)


def _depends_on(part: BasePhrase, head: BasePhrase, phrase: Phrase) -> bool:
    """Whether the chain of heads leads from `part` to `head` without leaving the bunsetsu."""
    while part is not None and part.phrase == phrase:
        part = part.parent
        if part == head:
            return True
    return False


def _stripped(morphemes: Sequence[Morpheme], left: Collection[str], right: Collection[str]) -> str:
    """The joined morphemes without those of such parts of speech at the ends; all of them if none would be left."""
    start, end = 0, len(morphemes)
    while start < end and morphemes[start].pos in left:
        start += 1
    while start < end and morphemes[end - 1].pos in right:
        end -= 1
    return "".join(m.text for m in (morphemes[start:end] or morphemes))
