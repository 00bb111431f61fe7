"""What is scored of a model's text."""

import json
import random
import unicodedata

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.answers import answer_is_whole, parse_answer, parse_code, parse_gold
from llmjp_jax.evaluation.metrics import COMPAT


def test_golden_predictions_and_golds_are_normalised_as_the_reference_does(shared_data):
    pairs = json.loads((shared_data / "evaluation/golden/metrics.json").read_text())["pairs"]
    unstripped = 0
    for pair in pairs:
        assert parse_answer(pair["pred_raw"], COMPAT) == pair["pred_normalized"]
        assert parse_gold(pair["gold_raw"], COMPAT) == pair["gold_normalized"]
        other = pair.get("without_strip", pair)["pred_normalized"]
        assert parse_answer(pair["pred_raw"], COMPAT, strip=False) == other
        unstripped += other != pair["pred_normalized"]
    assert unstripped >= 5


def test_golds_of_golden_prompts_are_normalised_as_the_reference_does(shared_data):
    for path in sorted((shared_data / "evaluation/golden/prompts").glob("*.json")):
        for item in json.loads(path.read_text())["prompts"]:
            assert parse_gold(item["gold"], COMPAT) == item["gold_normalized"]
            assert parse_gold(item["gold"]) == item["gold_normalized"].strip()


@pytest.mark.parametrize(
    ("raw", "sound", "reference"),
    [
        ("entailment\n\n### 入力:\n前提", "entailment", "entailment"),
        ("\n\nentailment", "entailment", ""),
        ("  \n \nentailment", "entailment", "entailment"),
        ("a\r\n\r\nb", "a", "a\r\n\r\nb"),
        ("a\n \nb", "a", "a\n \nb"),
        ("a\nb\n\nc", "a\nb", "a\nb"),
        ("\ufeff３\u200b\n", "3", "\ufeff3\u200b"),
        ("\u3000㈱ﾄﾖﾀ：③～ \u3000", "(株)トヨタ:3~", "(株)トヨタ:3~"),
        ("\u2212１〜", "\u22121〜", "\u22121〜"),
        ("", "", ""),
    ],
)
def test_an_answer_ends_at_the_first_blank_line(raw, sound, reference):
    assert parse_answer(raw) == sound
    assert parse_answer(raw, COMPAT) == reference


def test_1_3_0_itself_does_not_strip():
    assert parse_answer(" 3\n", COMPAT, strip=False) == " 3\n"
    assert parse_answer(" 3\n", COMPAT) == "3"
    # The cut comes first: what is stripped then may not be cut again.
    assert parse_answer("\n3\n\n4", COMPAT) == "3"


def test_a_gold_answer_is_stripped_in_the_sound_version_alone():
    assert parse_gold(" Ａ\n") == "A" and parse_gold(" Ａ\n", COMPAT) == " A\n"
    assert parse_gold("Ａ\n\nＢ") == "A\n\nB"


@pytest.mark.parametrize("compat", [None, COMPAT])
def test_a_parsed_answer_stays_what_it_is(compat):
    choice = random.Random(0)
    for _ in range(500):
        raw = "".join(choice.choices("aあ１ﾊﾟ～ \n\r\u3000\u200b\ufeff㈱", k=choice.randrange(12)))
        once = parse_answer(raw, compat)
        assert unicodedata.is_normalized("NFKC", once) and once == once.strip()
        if compat is None:
            assert "\n\n" not in once and "\r" not in once
            assert parse_answer(once) == once == parse_gold(once)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("def f():\n    return 1\n\n\nprint(f())\n", "def f():\n    return 1\n\n\nprint(f())"),
        ("\nはい。\n```python\nx = 'Ａ'\n\ny = 1\n```\n説明", "x = 'Ａ'\n\ny = 1\n"),
        ("```\nx = 1\n", "x = 1\n"),
        ("x = 1\n\n### 入力:\n次の問題", "x = 1"),
        ("x = 1  ### 入力 of the user\n### Input\ny = 2", "x = 1  ### 入力 of the user\n### Input\ny = 2"),
        ("x = 1\n### 入力を読む\ny = 2", "x = 1\n### 入力を読む\ny = 2"),
        ("    return 1\n", "    return 1"),
        ("x = '```'\ny = 1", "x = '```'\ny = 1"),
    ],
)  # fmt: skip
def test_code_keeps_its_blank_lines_indents_and_characters(raw, code):
    assert parse_code(raw) == code


def test_an_unknown_version_is_refused():
    with pytest.raises(UserError, match="compat = 'llm_jp_eval'"):
        parse_answer("a", "llm_jp_eval")


def test_an_answer_that_is_whole_cannot_be_changed_by_what_follows():
    draw = random.Random(0)
    alphabet = [
        "a",
        "\n",
        "\n",
        "\n\n",
        "\r\n",
        " ",
        "\u3000",
        "\u200b",
        "\ufeff",
        "Ａ",
        "が",
        "\u3099",
    ]
    whole = 0
    for _ in range(20_000):
        raw = "".join(draw.choices(alphabet, k=draw.randrange(8)))
        more = "".join(draw.choices(alphabet, k=draw.randrange(6)))
        if answer_is_whole(raw):
            whole += 1
            assert parse_answer(raw + more) == parse_answer(raw), (raw, more)
            assert parse_answer(raw + more, COMPAT) == parse_answer(raw, COMPAT), (raw, more)
    assert whole > 2_000
    assert not answer_is_whole("\n\nよい") and answer_is_whole("よい\n\n###")
