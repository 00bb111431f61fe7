"""Prompts, character for character as llm-jp-eval's, and braces in them."""

import dataclasses
import json

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.metrics import COMPAT, ReferenceStops
from llmjp_jax.evaluation.prompts import (
    PROMPT_TEMPLATES,
    PromptTemplate,
    build_prompt,
    build_template,
    custom_template,
    find_template,
)

TASKS = ("janli", "jcommonsenseqa", "jemhopqa", "jnli", "jsquad", "mawps", "wiki_ner", "wiki_reading")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Shot:
    input: str
    output: str


def golden_task(shared_data, task: str) -> tuple[dict, str, list[Shot]]:
    folder = shared_data / "evaluation/golden"
    golden = json.loads((folder / f"prompts/{task}.json").read_text())
    splits = json.loads((folder / f"processed/{task}.json").read_text())["splits"]
    shots = [Shot(**sample) for sample in splits["train"]["samples"][: golden["num_few_shots"]]]
    return golden, splits["dev"]["instruction"], shots


@pytest.mark.parametrize("compat", [None, COMPAT])
@pytest.mark.parametrize("task", TASKS)
def test_four_shot_prompts_equal_the_references_to_the_character(shared_data, task, compat):
    golden, instruction, shots = golden_task(shared_data, task)
    assert len(shots) == 4 and golden["prompts"]
    assert build_template(instruction, shots) == golden["template"]
    for item in golden["prompts"]:
        assert build_prompt(instruction, shots, item["input"], compat=compat) == item["prompt"]
    zero_shot = build_prompt(instruction, [], golden["prompts"][0]["input"], compat=compat)
    assert zero_shot == golden["zero_shot_prompt_0"]


def test_the_template_of_1_0_is_the_one_that_its_leaderboard_gives():
    prompt = build_prompt("計算してください。", [], "1+1", "llm_jp_eval_1_0")
    assert prompt == (
        "以下はタスクを説明する指示と、追加の背景情報を提供する入力の組み合わせです。要求を適切に満たす回答を書いてください。\n"
        "### 指示：\n計算してください。\n### 入力：\n1+1\n### 回答：\n"
    )


def test_braces_are_text_wherever_they_stand():
    for braces in ("{1,2}", "{x}", "}", "{", "{}", "{{a}}", "{input}", "{instruction}", "{output}", "{few_shots_text}", "\\1 %s $x"):  # fmt: skip
        prompt = build_prompt(f"I{braces}", [Shot(f"S{braces}", f"O{braces}")], f"N{braces}")
        plain = build_prompt("I", [Shot("S", "O")], "N")
        for letter in "ISON":
            before = {"I": "### 指示:\n", "S": "### 入力:\n", "O": "### 応答:\n", "N": "### 入力:\n"}[letter]  # fmt: skip
            plain = plain.replace(f"{before}{letter}", f"{before}{letter}{braces}", 1)
        assert prompt == plain


@pytest.mark.parametrize(
    ("braces", "error"),
    [("{1,2}", "ValidationError"), ("{x}", "ValidationError"), ("}", "ValueError"), ("{", "ValueError"), ("{}", "IndexError"),
     ("{input[5]}", "IndexError")],
)  # fmt: skip
def test_compat_stops_at_the_braces_that_stop_the_reference(braces, error):
    for instruction, shot in ((f"集合{braces}", "s"), ("集合", f"s{braces}")):
        with pytest.raises(ReferenceStops) as caught:
            build_prompt(instruction, [Shot(shot, "o")], "長い入力です", compat=COMPAT)
        assert caught.value.error == error


def test_compat_reads_braces_as_the_reference_does():
    prompt = build_prompt("{{a}}", [Shot("見本 {input}", "{input!r:>5}")], "{x} }{", compat=COMPAT)
    sound = build_prompt("{a}", [Shot("見本 {x} }{", "'{x} }{'")], "{x} }{")
    assert prompt == sound
    # The input's own braces are safe.
    assert prompt.endswith("### 入力:\n{x} }{\n\n### 応答:\n")


def test_a_custom_template_takes_the_references_shots_unless_it_has_its_own():
    text = "Q: {instruction}{few_shots_text}\n{input} -> {'json': 1}"
    shots = [Shot("a", "b"), Shot("c", "d")]
    assert build_prompt("?", shots, "e", custom_template(text, "\n{input}={output}")) == (
        "Q: ?\na=b\nc=d\ne -> {'json': 1}"
    )
    default = build_prompt("?", shots[:1], "e", custom_template(text))
    assert default == "Q: ?\n\n### 入力:\na\n\n### 応答:\nb\ne -> {'json': 1}"
    assert build_prompt("?", [], "e", custom_template("{input}{instruction}")) == "e?"


@pytest.mark.parametrize(
    ("text", "shot", "message"),
    [
        ("{instruction}", None, r"text .*\{input\} once, and has it 0 times"),
        ("{input}{input}{instruction}", None, r"\{input\} once, and has it 2 times"),
        ("{instruction}{input}", "{input}", r"shot .*\{output\} once"),
        ("{instruction}{input}{output}", None, r"cannot have \{output\}"),
        ("{instruction}{input}{few_shots_text}{few_shots_text}", None, r"cannot have \{few_shots_text\} 2 times"),
    ],
)  # fmt: skip
def test_a_template_without_its_places_is_refused(text, shot, message):
    with pytest.raises(UserError, match=message):
        custom_template(text, shot)


def test_shots_without_a_place_for_them_are_refused():
    with pytest.raises(UserError, match="no place for 1 shots"):
        build_prompt("?", [Shot("a", "b")], "c", custom_template("{instruction}{input}"))


def test_an_unknown_template_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'llm_jp_eval_1_3'"):
        build_prompt("?", [], "a", "llm_jp_eval_1.3")


def test_a_templates_sha256_changes_with_either_text_and_not_with_its_name():
    first = find_template("llm_jp_eval_1_3")
    assert first.sha256 == custom_template(first.text, first.shot).sha256
    others = [
        dataclasses.replace(first, text=first.text + "\n"),
        dataclasses.replace(first, shot=first.shot + "\n"),
        *PROMPT_TEMPLATES.values(),
        # The border between both texts counts.
        PromptTemplate(name="x", text="{instruction}{input}", shot="b{input}{output}"),
        PromptTemplate(name="x", text="{instruction}{input}b", shot="{input}{output}"),
    ]
    assert len({template.sha256 for template in others}) == len(others)
