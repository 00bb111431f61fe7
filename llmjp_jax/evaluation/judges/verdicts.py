"""Reads what a judge decided out of what it wrote. Plain rules over text; who A and B were is the benchmarks'."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

COMPAT = "ja_vicuna_qa"
ERROR = "error"


def verdict(text: str, pattern: str, compat: str | None = None) -> str:
    """'A', 'B', 'tie' or 'error' of a comparison of two answers.

        verdict("…したがって[[A]]", r"\\[\\[([ABC])\\]\\]")  -> 'A'

    The last one stands, for the judge is told to end with it. compat='ja_vicuna_qa': as the published program, [[A]] anywhere
    goes before [[B]], and [[B]] before [[C]].

    Args:
      pattern: finds a verdict; its group is A, B or C.
    """
    found = re.findall(pattern, text)
    if not found:
        return ERROR
    letter = min(found) if compat == COMPAT else found[-1]
    return "tie" if letter == "C" else letter


def rating(text: str, patterns: Sequence[str], lowest: float, highest: float) -> float | None:
    """The mark in a judge's text; None where there is none on the scale.

    The first pattern that is found anywhere counts, and its first place.
    """
    for pattern in patterns:
        found = re.search(pattern, text)
        if found:
            value = float(found[1])
            return value if lowest <= value <= highest else None
    return None


def published_rating(text: str, patterns: Sequence[str]) -> float:
    """The mark as the published Japanese Vicuna QA reads it: -1 where there is none, and no scale.

    Raises:
      SyntaxError: where it stops with one, at a number with a leading zero or full-width digits.
    """
    for pattern in patterns:
        found = re.search(pattern, text)
        if found:
            return ast.literal_eval(found[1])
    return -1
