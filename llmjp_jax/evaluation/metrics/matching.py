"""How far one answer is the gold one: equal (exact_match), in its characters (char_f1), in its lines (set_f1).

Of a pair of texts that `answers.py` has parsed. Functions named `reference_...` do what llm-jp-eval 1.3 does, faults included.
"""

from __future__ import annotations

import re

_NO_WORD = re.compile(r"\W")
# fuzzywuzzy deletes these before anything else, so that "naïve" is "nave".
_LATIN_1 = {code: None for code in range(0x80, 0x100)}


def exact_match(prediction: str, gold: str) -> float:
    """1.0 for equal texts, else 0.0."""
    return float(prediction == gold)


def char_f1(prediction: str, gold: str) -> float:
    """F1 of characters: those both texts have in the same order, over those that each has; 0 to 1.

    Punctuation and symbols count as spaces, letters as lower case, and the words between spaces are sorted:

        char_f1("夏目 漱石", "漱石、夏目") = 1.0
        char_f1("東京", "東京都") = 2 * 2 / (2 + 3) = 0.8

    With common = length of the longest common subsequence: precision common / len(prediction), recall common / len(gold).
    Texts of punctuation alone must be equal.
    """
    sorted_prediction, sorted_gold = _sorted_words(prediction), _sorted_words(gold)
    if not sorted_prediction and not sorted_gold:
        return exact_match(prediction, gold)
    return _similarity(sorted_prediction, sorted_gold)


def reference_char_f1(prediction: str, gold: str) -> float:
    """llm-jp-eval 1.3's char_f1: fuzzywuzzy 0.18 `token_sort_ratio` / 100 over python-Levenshtein, in whole hundredths.

    Characters U+0080 to U+00FF are deleted first; texts without words are equal to each other; a half is rounded to the
    even hundredth, as Python's `round` does.
    """
    sorted_prediction = _sorted_words(prediction.translate(_LATIN_1))
    sorted_gold = _sorted_words(gold.translate(_LATIN_1))
    if sorted_prediction == sorted_gold:
        return 1.0
    return round(100 * _similarity(sorted_prediction, sorted_gold)) / 100


def _sorted_words(text: str) -> str:
    return " ".join(sorted(_NO_WORD.sub(" ", text).lower().split()))


def _similarity(left: str, right: str) -> float:
    """2 * common / (len + len), as python-Levenshtein's `ratio`."""
    from rapidfuzz.distance import Indel

    return Indel.normalized_similarity(left, right)


def set_f1(prediction: str, gold: str) -> float:
    """F1 of the lines of two texts as sets, each line stripped, empty ones left out; 0 to 1.

    A task whose gold is one line (wiki_ner) is thus right or wrong as a whole. Two texts without lines are equal.
    """
    found, wanted = _lines(prediction), _lines(gold)
    if not found and not wanted:
        return 1.0
    return 2 * len(found & wanted) / (len(found) + len(wanted))


def _lines(text: str) -> set[str]:
    return {line.strip() for line in text.split("\n")} - {""}


def reference_set_f1(prediction: str, gold: str) -> float:
    """llm-jp-eval 1.3's set_f1: a gold line that stands twice is wanted twice, and an empty text is one empty line."""
    found = {line.strip() for line in prediction.split("\n")}
    wanted = [line.strip() for line in gold.split("\n")]
    hits = sum(line in wanted for line in found)
    return 2 * hits / (len(found) + len(wanted))
