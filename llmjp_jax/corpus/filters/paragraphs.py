"""The paragraphs of a document: what they are, which are left, and what text they make. No rule that removes one.

A paragraph is `{"path", "text"}` with, where they are known, `link_chars`, `exact_freq` and `near_freq`. A removed one
stays in its place with the step's name in `removed`, as in Uzushio: the steps after it still see what stood between
two others. While a document has `paragraphs` they are the truth, and its `text` waits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llmjp_jax.corpus.documents import Document

Paragraph = dict[str, Any]


def paragraphs_of(document: Document) -> list[Paragraph]:
    """The document's own list of paragraphs, removed ones included; made from the lines of its text where it has none."""
    if "paragraphs" not in document:
        lines = document["text"].split("\n")
        document["paragraphs"] = [{"path": "", "text": line} for line in lines if line.strip()]
    return document["paragraphs"]


def kept_paragraphs(document: Document) -> list[Paragraph]:
    """The paragraphs that no step has removed."""
    return [paragraph for paragraph in paragraphs_of(document) if "removed" not in paragraph]


def kept_texts(document: Document) -> list[str]:
    """The texts that a measure of the whole document reads: kept paragraphs, or the text where there are none yet."""
    if "paragraphs" not in document:
        return [document["text"]]
    return [one["text"] for one in document["paragraphs"] if "removed" not in one]


def document_text(document: Document) -> str:
    """The text of a document: its kept paragraphs, one after the other on lines of their own, or its `text`."""
    if "paragraphs" not in document:
        return document["text"]
    return "\n".join(kept_texts(document))


def count_of_share(count: int, share: float) -> int:
    """`count * share` cut to an integer as Java does it with a `float`: 60 * 0.05 is 3."""
    return int(np.float32(count) * np.float32(share))


def remove_runs(paragraphs: list[Paragraph], bad: list[bool], count: int, step: str) -> None:
    """Removes the bad paragraphs that have `count` bad ones in a row up to them or from them on.

    A run that is cut short by the start or the end of the document counts as one, and with each paragraph of a run go
    the bad ones among the `count` before it (Uzushio: LargeFreqParagraphs, KenLMParagraphPerplexity). With count = 3
    and `x` for bad:

        . x x x .   three      . x x .   none      x x . . x   all      . x . x x x .   all

    Paragraphs that earlier steps removed stand in a run like any other.
    """
    for place, paragraph in enumerate(paragraphs):
        if "removed" in paragraph or not bad[place]:
            continue
        before, after = bad[max(place - count + 1, 0) : place], bad[place : place + count]
        if all(before) or all(after):
            for one in range(max(place - count, 0), place + 1):
                if bad[one]:
                    paragraphs[one].setdefault("removed", step)
