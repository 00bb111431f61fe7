"""What a text shares with the gold one in runs of words or characters: BLEU, chrF, ROUGE.

Functions named `reference_...` do what llm-jp-eval 1.3 does, faults included.
"""

from __future__ import annotations

import collections
import functools
import math
from collections.abc import Callable, Sequence

from llmjp_jax.evaluation.metrics.scores import ReferenceStops, Score
from llmjp_jax.evaluation.metrics.words import japanese_tokenizer, without_nul, words_of_pair


def bleu(predictions: Sequence[str], golds: Sequence[str], inputs: Sequence[str] | None = None, *,
         language: str) -> Score:  # fmt: skip
    """Corpus BLEU-4 of sacreBLEU, 0 to 100.

    Args:
      language: 'en' for sacreBLEU's tokenizer 13a, 'ja' for ja-mecab.

    Raises:
      MetricUnavailable: MeCab is not installed, and the language is Japanese.
    """
    del inputs
    from sacrebleu.metrics import BLEU

    if language == "ja":
        japanese_tokenizer()
    # force: no warning about texts that look tokenised.
    metric = BLEU(tokenize={"en": "13a", "ja": "ja-mecab"}[language], force=True)
    return Score(_corpus_score(metric, predictions, golds))


def chrf(predictions: Sequence[str], golds: Sequence[str], inputs: Sequence[str] | None = None) -> Score:  # fmt: skip
    """Corpus chrF2 of sacreBLEU (character n-grams up to 6, no words), 0 to 100."""
    del inputs
    from sacrebleu.metrics import CHRF

    return Score(_corpus_score(CHRF(), predictions, golds))


def _corpus_score(metric, predictions: Sequence[str], golds: Sequence[str]) -> float:
    found = metric.corpus_score(
        [without_nul(text) for text in predictions], [[without_nul(text) for text in golds]]
    )
    return min(found.score, 100.0)  # equal texts give 100.00000000000004


def reference_bleu(prediction: str, gold: str) -> float:
    """What llm-jp-eval 1.3 calls BLEU, of one pair, 0 to 100.

    It gives sacreBLEU texts where lists of texts belong. So each character is a text of its own, set against the one at
    the same place, up to the shorter end: the share of predicted characters that agree, times the brevity penalty;
    spaces count nowhere.

        reference_bleu("東京", "東京都") = 100       reference_bleu("東京 都", "東京都") = 100 * exp(1 - 3 / 2)

    Raises:
      ReferenceStops: either text is empty.
    """
    if not prediction or not gold:
        raise ReferenceStops(
            "IndexError", "its BLEU reads the first character of a text that is empty"
        )
    pairs = list(zip(prediction, gold, strict=False))
    written = sum(not left.isspace() for left, _ in pairs)
    wanted = sum(not right.isspace() for _, right in pairs)
    same = sum(left == right and not left.isspace() for left, right in pairs)
    if not same:
        return 0.0
    brevity = 1.0 if written >= wanted else math.exp(1 - wanted / written)
    return 100 * same / written * brevity


def rouge(order: int) -> Callable[[str, str], float]:
    """ROUGE-N of one pair as F1, 0 to 1: a function of (prediction, gold).

    With N = `order`: n-grams of words (see `words.py`) that both have, each counted as often as in the one that has it less.
    Texts of fewer than N words score 0, as in Google's rouge_score.
    """
    return functools.partial(_rouge, order=order)


def _rouge(prediction: str, gold: str, order: int) -> float:
    found, wanted = (_ngrams(words, order) for words in words_of_pair(prediction, gold))
    total = found.total() + wanted.total()
    return 2 * (found & wanted).total() / total if total else 0.0


def _ngrams(words: list[str], order: int) -> collections.Counter:
    return collections.Counter(zip(*(words[start:] for start in range(order)), strict=False))
