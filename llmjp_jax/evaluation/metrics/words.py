"""The words of a text, as metrics count them: MeCab's for Japanese, runs of letters and digits for the rest."""

from __future__ import annotations

import functools
import re
from typing import Any

from llmjp_jax.evaluation.metrics.scores import MetricUnavailable

_JAPANESE = re.compile(r"[\u3005\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f]")
_WORD = re.compile(r"[^\W_]+")


def words_of_pair(prediction: str, gold: str) -> tuple[list[str], list[str]]:
    """Both texts cut in the same way, in lower case and without punctuation.

        "the cat's mat" -> ["the", "cat", "s", "mat"]           "猫が鳴く。" -> ["猫", "が", "鳴く"]

    If either holds Japanese, MeCab cuts both; else they are cut as Google's rouge_score cuts English.
    """
    if _JAPANESE.search(prediction) or _JAPANESE.search(gold):
        return _japanese_words(prediction), _japanese_words(gold)
    return _WORD.findall(prediction.lower()), _WORD.findall(gold.lower())


def _japanese_words(text: str) -> list[str]:
    words = japanese_tokenizer()(without_nul(text)).lower().split()
    return [word for word in words if _WORD.search(word)]


def without_nul(text: str) -> str:
    """The text with spaces for NULs, at which MeCab would stop reading."""
    return text.replace("\0", " ")


@functools.cache
def japanese_tokenizer() -> Any:
    """sacreBLEU's `ja-mecab`, MeCab with the IPA dictionary: text -> words between spaces.

    Raises:
      MetricUnavailable: MeCab or the dictionary is not installed.
    """
    from sacrebleu.tokenizers.tokenizer_ja_mecab import TokenizerJaMecab

    try:
        return TokenizerJaMecab()
    except RuntimeError:
        raise MetricUnavailable(
            "Japanese words need MeCab and its IPA dictionary, which are not installed; pip install 'sacrebleu[ja]'"
        ) from None
