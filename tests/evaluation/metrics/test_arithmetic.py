"""Answers that name the same number are equivalent, and no others, whatever stands around the number."""

import json
import random
import time
from fractions import Fraction

import pytest

from llmjp_jax.evaluation.metrics.arithmetic import equivalent, read_number

SAME = [
    ("18", "18"),
    ("18.0", "18"),
    ("18.", "18"),
    ("18", "18.0"),
    (".5", "0.5"),
    ("0.50", "0.5"),
    ("0個", "0"),
    ("１８", "18"),
    ("１，２００", "1200"),
    ("1,200", "1200"),
    ("1,234,567.5", "1234567.5"),
    ("¥1,200", "1200"),
    ("1200円", "1200"),
    ("18個", "18"),
    ("18 個です。", "18"),
    ("7人", "7"),
    ("50%", "50"),
    ("24km", "24"),
    ("24 km/h", "24"),
    ("30cm²", "30"),
    ("30 cm2", "30"),
    ("30 m^2", "30"),
    ("時速8kmで3時間なので24km", "24"),
    ("答えは18です", "18"),
    ("答えは18です。18は3×6です。検算: 20-2", "18"),
    ("答え：18個（3個入り6箱）", "18"),
    ("答えは16 + 11 = 27です。", "27"),
    ("答えは12ですか。いいえ、答えは18です。2回確かめました。", "18"),
    ("16 + 11 = 27", "27"),
    ("最初は15個、昼に3個使い、15-3=12、12/4=3", "3"),
    ("The answer is 18.", "18"),
    ("It is 3 + 4 = 7. #### 7", "7"),
    (r"\boxed{18}", "18"),
    (r"答えは $\boxed{\frac{1}{2}}$ です", "0.5"),
    (r"\dfrac{3}{4}", "0.75"),
    (r"1{,}200", "1200"),
    ("1/2", "0.5"),
    ("½", "0.5"),
    ("1½", "1.5"),
    ("1 1/2", "1.5"),
    ("1と1/2", "1.5"),
    ("2分の1", "0.5"),
    ("1と2分の1", "1.5"),
    ("二分の一", "0.5"),
    ("2/3", "0.6666666666666666"),
    ("0.6666667", "0.6666666666666666"),
    ("-3", "-3"),
    ("\u22123", "-3"),
    ("－３", "-3"),
    ("マイナス3", "-3"),
    ("答えは-3です", "-3"),
    ("答えは\u22123度です", "-3"),
    ("-1/2", "-0.5"),
    ("+5", "5"),
    ("-0", "0"),
    ("6.5e-1", "0.65"),
    ("十二", "12"),
    ("十二個です", "12"),
    ("答えは二十三です", "23"),
    ("千二百三十四", "1234"),
    ("一万二千", "12000"),
    ("二〇二四年", "2024"),
    ("3万5千円", "35000"),
    ("1億2000万", "120000000"),
    ("1.5万", "15000"),
    ("百", "100"),
    ("零", "0"),
    ("一緒に数えると、12個", "12"),
    ("答えは12です。\n\nよって十分です。", "12"),
    ("はい", "はい"),
    ("Ａ ", "A"),
]
DIFFERENT = [
    ("17", "18"),
    ("-18", "18"),
    ("1.8", "18"),
    ("180", "18"),
    ("18", "1.8"),
    ("", "18"),
    ("わかりません", "18"),
    ("答えは", "18"),
    ("1/0", "0"),
    ("0.67", "0.6666666666666666"),
    ("0.666", "0.6666666666666666"),
    ("50%", "0.5"),
    ("0.0000001", "0"),
    ("18 + 9 = 27", "18"),
    ("5-3", "-3"),
    ("30 cm2", "2"),
    ("10²", "102"),
    ("10^2", "2"),
    ("1,2,3", "123"),
    ("1.2.3", "3"),
    ("一緒に", "1"),
    ("万が一", "10000"),
    ("十百", "110"),
    ("nan", "18"),
    ("inf", "18"),
    ("__import__('os').getpid()", "18"),
    ("いいえ", "はい"),
]  # fmt: skip


@pytest.mark.parametrize(("prediction", "gold"), SAME)
def test_the_same_number_is_equivalent(prediction, gold):
    assert equivalent(prediction, gold)


@pytest.mark.parametrize(("prediction", "gold"), DIFFERENT)
def test_another_number_or_none_is_not(prediction, gold):
    assert not equivalent(prediction, gold)


def test_the_tolerance_is_a_millionth_of_the_gold_answer():
    assert equivalent("1000000.9", "1000000") and not equivalent("1000001.1", "1000000")
    assert equivalent("0.0010000009", "0.001") and not equivalent("0.0010000011", "0.001")


def kanji(number: int) -> str:
    """The reading that this test believes in: units within each myriad, one said only before 万 and 億."""
    digits = "零一二三四五六七八九"
    if number == 0:
        return digits[0]
    text = ""
    for size, name in ((10**8, "億"), (10**4, "万"), (1, "")):
        section, number = divmod(number, size)
        if not section:
            continue
        for unit, unit_name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
            digit, section = divmod(section, unit)
            if digit:
                text += ("" if digit == 1 and unit > 1 else digits[digit]) + unit_name
        text += name
    return text


def test_kanji_numerals_are_read_as_they_are_written():
    choice = random.Random(0)
    for number in [*range(130), *(choice.randrange(10 ** choice.randrange(2, 12)) for _ in range(500))]:  # fmt: skip
        assert read_number(f"{kanji(number)}です") == number, kanji(number)


def test_every_gold_answer_of_mawps_is_read_exactly_and_equals_itself_in_words(shared_data):
    answers = [row["answer"] for row in json.loads((shared_data / "evaluation/raw/mawps/test.json").read_text())]  # fmt: skip
    assert len(answers) == 1000
    for answer in answers:
        assert read_number(answer) == Fraction(answer)
        for form in ("{}", "答えは{}です。", "{}円", "よって、3個と{}個なので、答えは{}です。\n"):
            assert equivalent(form.replace("{}", answer), answer)


def test_worked_answers_of_mawps_end_on_the_number_they_announce(shared_data):
    for name in ("shot_example", "zero_shot_example"):
        rows = json.loads((shared_data / f"evaluation/raw/mawps/{name}.json").read_text())
        for row in rows:
            worked = row["shot_example"].split("\n解答:".replace(":", "："))[1]
            announced = worked.split("答えは")[-1].split("です。")[0]
            assert read_number(worked) == Fraction(announced), worked


def test_hostile_text_is_answered_soon():
    started = time.monotonic()
    for text in ("9" * 100_000, "1e999999999", "1e999", "1," * 20_000, "1 " * 20_000, "一" * 20_000, "-" * 20_000, "1/" * 20_000, "\\frac{" * 20_000, "答えは" * 20_000, "1と" * 20_000, "1億" * 20_000):  # fmt: skip
        equivalent(text, "18")
    assert time.monotonic() - started < 10  # seconds; a pattern that backtracks would take hours
