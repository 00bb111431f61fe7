"""Pearson's and Spearman's correlation of the numbers that a model answers, and how a number is read from an answer.

Functions named `reference_...` do what llm-jp-eval 1.3 does, faults included. Not for single answers: a correlation belongs
to all samples together.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.metrics.scores import ReferenceStops, Score

UNPARSABLE = -2.0  # llm-jp-eval 1.3's number for an answer that holds none
# What may be a number: a sign counts where no letter, digit or point stands before it.
_RUN = re.compile(r"(?:(?<![\w.)])[+-])?[.,]*\d[\d.,]*(?:[eE][+-]?\d+)?")
# Commas stand before groups of three digits only.
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:[eE][+-]?\d+)?")
_MINUS = str.maketrans("\u2212\u2010\u2011\u2012\u2013\ufe63", "------")


def parse_number(text: str) -> float | None:
    """The one number that stands in a text; None if there is none, or several.

    parse_number("類似度は３.５です。") = 3.5       parse_number("−1,000") = -1000.0      parse_number("1e1") = 10.0
    parse_number("1.2.3") = parse_number("4,8") = parse_number("1/2") = parse_number("四") = None
    """
    text = unicodedata.normalize("NFKC", text).translate(_MINUS)
    runs = [run.rstrip(".,") for run in _RUN.findall(text)]
    if len(runs) != 1 or not _NUMBER.fullmatch(runs[0]):
        return None
    number = float(runs[0].replace(",", ""))
    return number if math.isfinite(number) else None


def parse_float(text: str) -> float:
    """llm-jp-eval 1.3's number of an answer: its digits and points alone, read together; -2.0 where that is no number.

    parse_float("-3") = 3.0       parse_float("1e1") = 11.0      parse_float("4,8") = 48.0
    """
    try:
        return float("".join(re.findall(r"[0-9.]", text)))
    except ValueError:
        return UNPARSABLE


def pearson(predictions: Sequence[str], golds: Sequence[str], inputs: Sequence[str] | None = None) -> Score:  # fmt: skip
    """Pearson's r of predicted and gold numbers, -1 to 1; 0.0 where either side does not vary.

    An answer without a number stands as the mean of the others: it helps nothing, and its gold number still has to be
    explained, so that r shrinks with the share of such answers.

    Raises:
      UserError: a gold answer is no number.
    """
    del inputs
    return Score(_correlation(_filled(predictions), _gold_numbers(golds)))


def spearman(predictions: Sequence[str], golds: Sequence[str], inputs: Sequence[str] | None = None) -> Score:  # fmt: skip
    """Spearman's rho: `pearson` of ranks, equal numbers sharing their mean rank."""
    del inputs
    return Score(_correlation(_ranks(_filled(predictions)), _ranks(_gold_numbers(golds))))


def reference_pearson(predictions: Sequence[str], golds: Sequence[str], inputs: Sequence[str] | None = None) -> Score:  # fmt: skip
    """llm-jp-eval 1.3's: SciPy's r over `parse_float`, NaN as 0.0.

    Raises:
      ReferenceStops: a gold answer is no number, or there is one sample only.
    """
    del inputs
    numbers = _reference_golds(golds)
    if len(numbers) < 2:
        raise ReferenceStops("ValueError", "Pearson's correlation needs two samples")
    return Score(_correlation([parse_float(text) for text in predictions], numbers))


def reference_spearman(predictions: Sequence[str], golds: Sequence[str], inputs: Sequence[str] | None = None) -> Score:  # fmt: skip
    """llm-jp-eval 1.3's: SciPy's rho over `parse_float`, NaN as 0.0.

    Raises:
      ReferenceStops: a gold answer is no number.
    """
    del inputs
    found = [parse_float(text) for text in predictions]
    return Score(_correlation(_ranks(found), _ranks(_reference_golds(golds))))


def _filled(predictions: Sequence[str]) -> list[float]:
    numbers = [parse_number(text) for text in predictions]
    known = [number for number in numbers if number is not None]
    mean = float(np.mean(known)) if known else 0.0
    return [mean if number is None else number for number in numbers]


def _gold_numbers(golds: Sequence[str]) -> list[float]:
    for index, gold in enumerate(golds):
        try:
            known = math.isfinite(float(gold))
        except ValueError:
            known = False
        if not known:
            raise UserError(
                f"the gold answer of sample {index} is {gold!r}, and a correlation needs a number; correct the task's file"
            )
    return [float(gold) for gold in golds]


def _reference_golds(golds: Sequence[str]) -> list[float]:
    try:
        return [float(gold) for gold in golds]
    except ValueError as error:
        raise ReferenceStops("ValueError", f"a gold answer is no number ({error})") from None


def _correlation(left: Sequence[float], right: Sequence[float]) -> float:
    parts = []
    for values in (left, right):
        array = np.asarray(values, np.float64)
        if not np.isfinite(array).all() or (array == array[0]).all():
            return 0.0
        array = array / np.abs(array).max()  # so that no square overflows
        array = array - array.mean()
        parts.append(array / np.linalg.norm(array))
    return float(np.clip(parts[0] @ parts[1], -1.0, 1.0))


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs: [5., 2., 5.] -> [2.5, 1., 2.5]."""
    array = np.asarray(values, np.float64)
    _, place, count = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[place]
