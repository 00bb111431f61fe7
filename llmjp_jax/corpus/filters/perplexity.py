"""Perplexity of paragraphs and documents under a KenLM model over Sudachi's words. After Uzushio's.

A paragraph's score is the mean log10 probability of its words (Sudachi core, mode C, surface forms) and of the
sentence's end, without the least probable share `outliers` of them; its perplexity is 10 to the minus of that
(WorksApplications/uzushio, lib/filters/KenLMDocAvgPerplexity.scala; the evaluator is eiennohito/kenlm-java's). LLM-jp's
model, `kenlm_merge-code_0.05_model.bin`, is not public: a model is the user's, and without one a step must be told to
let everything pass.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.filters.paragraphs import (
    count_of_share,
    kept_paragraphs,
    paragraphs_of,
    remove_runs,
)
from llmjp_jax.errors import UserError

STEPS = ("kenlm_paragraph_perplexity", "kenlm_doc_avg_perplexity")

_SCORED_BYTES = 64 * 1024  # of the words, with a space after each; Uzushio's buffer
_MAX_OUTLIERS = 1024  # its evaluator's; it counts no more words than this as outliers
_SUDACHI_CHARACTERS = 12_000  # in one piece: Sudachi takes up to 49,149 bytes
_SENTENCE_ENDS = "\n。！？"


def kenlm_paragraph_perplexity(
    document: Document,
    *,
    model: str | os.PathLike | None = None,
    count: int = 3,
    threshold: float = 1e6,
    outliers: float = 0.02,
    without_model: str | None = None,
) -> Document:
    """Removes runs of `count` or more paragraphs whose perplexity is `threshold` or more; what is a run: `remove_runs`.

    Args:
      model: path of a KenLM model, binary or ARPA.
      outliers: share of the words that is left out, the least probable ones.
      without_model: `'leave_out'` lets every document pass where `model` is None.

    Raises:
      UserError: no model is given and `without_model` is not `'leave_out'`, the file is missing or no model, or the
        packages are not installed.
    """
    if _is_left_out(STEPS[0], model, without_model):
        return document
    paragraphs = paragraphs_of(document)
    limit = -math.log10(threshold)
    bad = [score(paragraph["text"], model, outliers) <= limit for paragraph in paragraphs]
    remove_runs(paragraphs, bad, count, STEPS[0])
    return document


def kenlm_doc_avg_perplexity(
    document: Document,
    *,
    model: str | os.PathLike | None = None,
    low: float = 0.0,
    high: float = 1e6,
    outliers: float = 0.0,
    without_model: str | None = None,
) -> bool:
    """Keeps a document whose paragraphs' mean perplexity, weighted by their characters, is in [low, high].

    A document without paragraphs is kept. Arguments and errors are those of `kenlm_paragraph_perplexity`.
    """
    if _is_left_out(STEPS[1], model, without_model):
        return True
    texts = [paragraph["text"] for paragraph in kept_paragraphs(document)]
    characters = sum(map(len, texts))
    if not characters:
        return True
    total = sum(10.0 ** -score(text, model, outliers) * len(text) for text in texts)
    return low <= total / characters <= high


def prepare(step: str, parameters: Mapping[str, Any]) -> str | None:
    """Loads what a step of this module needs; or what to tell the user of one that lets everything pass.

    Raises:
      UserError: as the step itself would.
    """
    model = parameters.get("model")
    if _is_left_out(step, model, parameters.get("without_model")):
        return (
            f"{step} lets every document pass: no KenLM model is given (without_model='leave_out')"
        )
    _load(os.fspath(model))
    _tokenizer()
    return None


def score(text: str, model: str | os.PathLike, outliers: float) -> float:
    """Mean log10 probability of the words of a text and its end, without the least probable `outliers` of them.

    As in Uzushio, `outliers` under 0.001 leaves nothing out and divides by the words without the end, so that a text
    without words scores minus infinity.
    """
    return _score(text, os.fspath(model), outliers)


# The ladder has four steps of this kind over the same paragraphs.
@functools.lru_cache(maxsize=1 << 13)
def _score(text: str, model: str, outliers: float) -> float:
    language_model = _load(model)  # first: it explains what is missing
    words = " ".join(_words(text))
    logs = [log for log, _, _ in language_model.full_scores(words)]
    tokens = len(logs) - 1
    if outliers < 1e-3:
        return sum(logs) / tokens if tokens else -math.inf
    left_out_words = min(count_of_share(tokens, outliers), _MAX_OUTLIERS)
    kept = sorted(logs)[left_out_words:]
    return sum(kept) / len(kept)


def _words(text: str) -> Iterator[str]:
    """The words that are scored, as many as fit into Uzushio's buffer, the last one cut there."""
    left = _SCORED_BYTES
    tokenizer = _tokenizer()
    for piece in _pieces(text):
        for morpheme in tokenizer.tokenize(piece):
            surface = morpheme.surface()
            if surface == "\n" or morpheme.normalized_form() == " ":
                continue
            data = surface.encode()[:left]
            left -= len(data) + 1
            yield data.decode("utf-8", "ignore")
            if left <= 0:
                return


def _pieces(text: str) -> Iterator[str]:
    """A text in pieces that Sudachi takes, cut after a sentence where there is one."""
    start = 0
    while len(text) - start > _SUDACHI_CHARACTERS:
        limit = start + _SUDACHI_CHARACTERS
        end = max(text.rfind(mark, start, limit) for mark in _SENTENCE_ENDS) + 1
        end = end if end > start else limit
        yield text[start:end]
        start = end
    yield text[start:]


def _is_left_out(step: str, model: str | os.PathLike | None, without_model: str | None) -> bool:
    if without_model not in (None, "leave_out"):
        raise UserError(
            f"{step}: without_model is {without_model!r}; give 'leave_out', or nothing to make a missing model an error"
        )
    if model is None and without_model is None:
        raise UserError(
            f"{step} needs a KenLM model: give the path of one as model, or set without_model='leave_out' in the "
            "step's parameters to let every document pass it"
        )
    return model is None


@functools.cache
def _load(model: str) -> Any:
    try:
        import kenlm
    except ImportError:
        raise UserError(_not_installed("kenlm")) from None
    if not Path(model).is_file():
        raise UserError(f"there is no KenLM model {model}; check the path that is given as model")
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        return kenlm.LanguageModel(model, config)
    except (OSError, RuntimeError) as error:
        reason = re.sub(r"(?s).* threw \w+\.\s*", "", str(error)).strip(" .)\n")
        raise UserError(
            f"{model} is no KenLM model ({reason}); give a binary or ARPA file of KenLM's"
        ) from None


@functools.cache
def _tokenizer() -> Any:
    try:
        from sudachipy import Dictionary
    except ImportError:
        raise UserError(_not_installed("sudachipy")) from None
    dictionary = Dictionary(dict="core")
    # `create` is the older name.
    return dictionary.tokenizer() if hasattr(dictionary, "tokenizer") else dictionary.create()


def _not_installed(package: str) -> str:
    return f"the perplexity steps need the package {package}, which is not installed; run pip install -e '.[kenlm]'"
