"""Whether two answers name the same number: `mathematical_equivalence`, for MAWPS and other sums in words.

Reads numbers out of Japanese and English answers. Not a computer algebra system: it compares numbers, evaluates no
expression and runs no text as code; 'x + 1' against '1 + x' is a comparison of strings.

Which number counts, when a text has several: what follows the last 答えは, 'answer is', '####' or \\boxed, the form in
which MAWPS-ja's own worked answers and GSM8K's end; in an equation what follows its last '='; and, where no answer is
announced, the last number of the text, as graders of GSM8K do, since reasoning comes before its result.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

# Relative to the gold answer. MAWPS-ja writes 2/3 as 0.6666666666666666.
TOLERANCE = Fraction(1, 10**6)
_LONGEST_NUMBER = 100  # characters; int() is quadratic in them

_MINUS = str.maketrans(dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\uff0d\ufe63", "-") | {"\u2044": "/", "\u00f7": "/"})  # fmt: skip
_POWERS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True))
_DIGITS = {digit: value for value, digit in enumerate("〇一二三四五六七八九")} | {"零": 0}
_TENS = {"十": 10, "百": 100, "千": 1000}
_MYRIADS = {"万": 10**4, "億": 10**8, "兆": 10**12}
_KANJI = "".join([*_DIGITS, *_TENS, *_MYRIADS])

_ANNOUNCED = re.compile(
    r"答え?(?:は|[::=])|(?:answer|result)\s*(?:is|[:=])|####|\\boxed", re.IGNORECASE
)
_PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,3}(?![\w.]))?"
# Not the 2 of 'cm2', the 3 of '1.2.3', the exponent of '10^3' nor its base.
_NUMBER = re.compile(
    rf"""(?<![A-Za-z\d.^_])
    (?P<sign>(?:(?<![\d)A-Za-z])[-+]|マイナス|負の)\s?)?
    (?:
      (?P<whole>\d+)\s*[と]\s*(?P<ja_mixed_below>\d+)\s*分の\s*(?P<ja_mixed_above>\d+)
    | (?P<ja_below>{_PLAIN})\s*分の\s*(?P<ja_above>{_PLAIN})
    | (?P<mixed>\d+)(?:\s+|\s*と\s*)(?P<mixed_above>\d+)\s*/\s*(?P<mixed_below>\d+)(?![\d.])
    | (?P<above>{_PLAIN})\s*/\s*(?P<below>{_PLAIN})
    | (?P<kanji>(?:{_PLAIN}[十百千万億兆]+)+(?:{_PLAIN})?)
    | (?P<plain>{_PLAIN})
    )
    (?!\s*(?:\^|\*\*)|\.\d)""",
    re.VERBOSE,
)
# What may follow a number in kanji: an end, a particle, a unit. 一緒に, 一番 and 一般 are words.
_COUNTERS = (
    "個人円本枚匹頭羽冊台回倍度歳才年月日時分秒週杯つ点問組箱袋束票軒件名通着足皿切粒株巻曲席輪"
)
_KANJI_NUMBER = re.compile(
    rf"""\s*(?P<sign>-|マイナス|負の)?\s*
    (?:(?P<below>[{_KANJI}]+)分の(?P<above>[{_KANJI}]+)|(?P<plain>[{_KANJI}]+))
    (?=\s*(?:$|[。、.,!)\n%A-Za-zァ-ヶ{_COUNTERS}]|です|だ|で|と))""",
    re.VERBOSE,
)


def equivalent(prediction: str, gold: str) -> bool:
    """Whether `prediction` names the number that `gold` names, to a relative 1e-6 of it; 0 must be met exactly.

    Full-width digits, thousands separators, units, signs and '答えは…です' do not matter; '1/2', '2分の1', '0.5' and '.50' are
    one number, as are '十二', '12' and '12.0', '3万5千' and '35,000'. A unit is no factor: '50%' is 50. A gold answer without
    a number is compared as text (NFKC, outer spaces off).

        >>> equivalent("答えは１，２００円です。", "1200"), equivalent("2/3", "0.6666666666666666")
        (True, True)
    """
    expected = read_number(gold)
    if expected is None:
        return _normalized(prediction).strip() == _normalized(gold).strip()
    found = read_number(prediction)
    return found is not None and abs(found - expected) <= TOLERANCE * abs(expected)


def read_number(text: str) -> Fraction | None:
    """The number that a text gives as its answer, exactly; None if it has none. The module says which of several."""
    text = _normalized(text)
    announced = list(_ANNOUNCED.finditer(text))
    if announced:
        # A marker that nothing follows announces nothing.
        number = _first(text[announced[-1].end() :])
        if number is not None:
            return number
    return _last(text)


def _first(text: str) -> Fraction | None:
    """The number right after an announcement, or, where an equation stands there, the one after its last '='."""
    sentence = re.split(r"[。\n]", text.lstrip(" :\n"), maxsplit=1)[0]
    sentence = sentence.rsplit("=", 1)[-1]
    kanji = _kanji_at_start(sentence)
    if kanji is not None:
        return kanji
    return next(filter(_is_number, map(_value, _NUMBER.finditer(sentence))), None)


def _last(text: str) -> Fraction | None:
    from_the_end = map(_value, reversed(list(_NUMBER.finditer(text))))
    number = next(filter(_is_number, from_the_end), None)
    return number if number is not None else _kanji_at_start(text)


def _is_number(value: Fraction | None) -> bool:
    return value is not None


def _value(match: re.Match) -> Fraction | None:
    parts = {name: part for name, part in match.groupdict().items() if part is not None}
    sign = -1 if parts.pop("sign", "+").strip() in ("-", "マイナス", "負の") else 1
    if any(len(part) > _LONGEST_NUMBER for part in parts.values()):
        return None
    if "kanji" in parts:
        value = _kanji_value(parts["kanji"])
        return None if value is None else sign * value
    numbers = {name: Fraction(part.replace(",", "")) for name, part in parts.items()}
    for below in ("below", "ja_below", "mixed_below", "ja_mixed_below"):
        if numbers.get(below) == 0:
            return None
    match numbers:
        case {"whole": whole, "ja_mixed_below": below, "ja_mixed_above": above}:
            return sign * (whole + above / below)
        case {"mixed": whole, "mixed_above": above, "mixed_below": below}:
            return sign * (whole + above / below)
        case {"ja_below": below, "ja_above": above} | {"below": below, "above": above}:
            return sign * above / below
        case {"plain": value}:
            return sign * value
    raise AssertionError(numbers)


def _kanji_at_start(text: str) -> Fraction | None:
    """A number in kanji with which the text begins; elsewhere 一 and 十 are mostly parts of words (一緒に, 十分)."""
    match = _KANJI_NUMBER.match(text)
    if match is None:
        return None
    values = [_kanji_value(match[name]) for name in ("above", "below", "plain") if match[name]]
    if None in values or (match["below"] and values[1] == 0):
        return None
    value = values[0] / values[1] if match["below"] else values[0]
    return -value if match["sign"] else value


def _kanji_value(text: str) -> Fraction | None:
    """The value of 千二百三十四, 二〇二四 or 3万5千, Arabic and kanji digits mixed; None where the order makes no sense.

    Units fall within a myriad (千 > 百 > 十), and myriads fall from left to right. 万 needs digits before it: 万 alone begins a
    word.
    """
    if len(text) > _LONGEST_NUMBER:
        return None
    total = section = Fraction(0)
    digits: list[str] = []
    unit = myriad = 10**16
    for part in re.findall(rf"{_PLAIN}|.", text):
        if part in _TENS:
            if _TENS[part] >= unit:
                return None
            unit = _TENS[part]
            count = _digits_value(digits)
            if digits and count is None:
                return None
            section += (1 if count is None else count) * unit
            digits = []
        elif part in _MYRIADS:
            if _MYRIADS[part] >= myriad or not (section or digits):
                return None
            myriad, unit = _MYRIADS[part], 10**16
            total += (section + (_digits_value(digits) or 0)) * myriad
            section, digits = Fraction(0), []
        else:
            digits.append(part)
    return total + section + (_digits_value(digits) or 0)


def _digits_value(digits: list[str]) -> Fraction | None:
    """Of kanji or Arabic digits in a row, such as 二〇二四; None of none."""
    written = "".join(str(_DIGITS.get(digit, digit)) for digit in digits).replace(",", "")
    return Fraction(written) if written else None


def _normalized(text: str) -> str:
    """NFKC with one kind of minus; LaTeX's fractions and separators as plain text; powers as '^2', not as digits."""
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda match: "^" + "".join(map(_POWERS.get, match[0])), text)
    text = re.sub(r"(?<=\d)(?=[¼-¾⅐-⅞])", " ", text)  # 1½ is 1 1/2, not 11/2
    text = unicodedata.normalize("NFKC", text).translate(_MINUS)
    text = re.sub(r"(?<=\d)(?:\{,\}|\\[,!])(?=\d{3})", ",", text)
    text = re.sub(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r" \1/\2", text)
    return re.sub(r"\\text\s*\{[^{}]*\}|\\[(){}\[\]]|\$", " ", text)
