"""Japanese Vicuna QA against the published judgments, and its two kinds of scores."""

import json

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.judges import vicuna
from llmjp_jax.evaluation.judges.benchmarks import find_benchmark
from llmjp_jax.evaluation.judges.records import (
    Answers,
    JudgePrompt,
    Question,
    read_answers,
    read_prompts,
    read_questions,
    with_references,
)
from llmjp_jax.evaluation.judges.requests import JudgeReply
from llmjp_jax.evaluation.judges.verdicts import published_rating

BENCHMARK = find_benchmark("vicuna")
COMPAT = "ja_vicuna_qa"
PROMPTS = {
    name: JudgePrompt(name, "公平に", template)
    for name, template in {
        "pair": "{question}|{answer_a}|{answer_b}",
        "pair-math": "{question}|{ref_answer_1}|{answer_a}|{answer_b}",
        "single": "{question}|{answer}",
        "single-math": "{question}|{ref_answer_1}|{answer}",
    }.items()
}
QUESTIONS = [Question("1", "generic", ("問一",)), Question("68", "math", ("問二",), ("参考",))]


def answers(model, text="答"):
    return Answers(model, {question.id: (f"{text}{question.id}",) for question in QUESTIONS})


def text(id, said):
    return JudgeReply(id, said, None)


@pytest.fixture(scope="module")
def golden(shared_data):
    return json.loads((shared_data / "evaluation/golden/ja_vicuna_qa.json").read_text())


@pytest.fixture(scope="module")
def raw(shared_data):
    return shared_data / "evaluation/raw/ja_vicuna_qa"


def test_win_rates_of_the_published_judgments_are_equal(golden):
    assert len(golden["matches"]) == 3
    for match in golden["matches"]:
        published, sound = [], []
        for judged in match["judgments"]:
            texts = [judged["g1_tail"], judged["g2_tail"]]
            winners = [vicuna.winner(t, g, BENCHMARK.judge.verdict, COMPAT) for g, t in enumerate(texts, 1)]  # fmt: skip
            assert winners == [judged["g1_winner"], judged["g2_winner"]]
            published.append(vicuna.outcome(tuple(winners), COMPAT))
            sound.append(vicuna.outcome(tuple(vicuna.winner(t, g, BENCHMARK.judge.verdict) for g, t in enumerate(texts, 1))))  # fmt: skip
        for model, rates in match["rates"].items():
            for outcomes in (published, sound):
                found = vicuna.win_rates(outcomes, model)
                assert {name: found[name] for name in rates} == rates


def test_parsing_of_the_published_program_is_equal(golden):
    for case in golden["parsing"]["winner"]:
        found = vicuna.winner(case["judgment"], 1, BENCHMARK.judge.verdict, COMPAT)
        assert found == case["as_g1"], case
    for case in golden["parsing"]["score"]:
        if isinstance(case["score"], dict):
            with pytest.raises(SyntaxError):
                published_rating(case["judgment"], BENCHMARK.judge.rating)
        else:
            assert published_rating(case["judgment"], BENCHMARK.judge.rating) == case["score"], case


def test_whole_scores_of_the_published_judgments_are_equal_from_either_side(golden, raw):
    questions = read_questions(raw / "question.jsonl", BENCHMARK)
    match = golden["matches"][1]
    first, second = (
        Answers(match[name], {q.id: ("x",) for q in questions}) for name in ("model_1", "model_2")
    )
    replies = {
        f"vicuna-{judged['question_id']}-game{game}": text("", judged[f"g{game}_tail"])
        for judged in match["judgments"] for game in (1, 2)
    }  # fmt: skip
    for tested, other, name in ((first, second, "model_1"), (second, first, "model_2")):
        result = vicuna.score_pairwise(BENCHMARK, questions, tested, other, replies, {})
        for kind in (result["scores"], result["compat"]["scores"]):
            assert {rate: kind[rate] for rate in match["rates"][name]} == match["rates"][name]
        assert result["counts"]["errors"] == 0
        assert set(result["categories"]) == set(BENCHMARK.categories)


def test_requests_of_the_real_questions_have_both_orders_and_references_where_the_benchmark_has_them(raw):  # fmt: skip
    questions = read_questions(raw / "question.jsonl", BENCHMARK)
    references = read_answers(raw / "reference_answer/gpt-4/results.jsonl")
    questions = with_references(questions, BENCHMARK, references)
    prompts = read_prompts(raw / "judge_prompts.jsonl")
    baseline = read_answers(raw / "model_answer/openai--text-davinci-003/results.jsonl")
    mine = Answers("mine", {q.id: (f"私の答え{q.id}",) for q in questions})
    requests = vicuna.pairwise_requests(BENCHMARK, questions, mine, baseline, prompts)
    assert [r.id for r in requests[:3]] == ["vicuna-1-game1", "vicuna-1-game2", "vicuna-2-game1"]
    assert len(requests) == 160
    shown = {
        r.id.split("-")[1] for r in requests if "[参考解答の始まり]" in r.messages[1]["content"]
    }
    assert shown == {str(id) for id in range(61, 71)}
    one, two = (r.messages[1]["content"] for r in requests[:2])
    assert one == (
        f"[ユーザーの質問]\n{questions[0].turns[0]}\n\n[アシスタントAの答えの始まり]\n私の答え1\n[アシスタントAの答えの終わり]\n\n"
        f"[アシスタントBの答えの始まり]\n{baseline.turns['1'][0]}\n[アシスタントBの答えの終わり]"
    )
    assert two.index("私の答え1") > two.index(baseline.turns["1"][0])
    assert requests[0].messages[0]["content"] == prompts["pair"].system_prompt
    assert {(r.temperature, r.max_tokens) for r in requests} == {(0.0, 2048)}


def test_model_1_is_the_first_by_name_whichever_is_tested():
    for tested, other in ((answers("a", "甲"), answers("b", "乙")), (answers("b", "乙"), answers("a", "甲"))):  # fmt: skip
        requests = vicuna.pairwise_requests(BENCHMARK, QUESTIONS, tested, other, PROMPTS)
        assert [r.messages[1]["content"] for r in requests] == [
            "問一|甲1|乙1", "問一|乙1|甲1", "問二|参考|甲68|乙68", "問二|参考|乙68|甲68",
        ]  # fmt: skip


def test_braces_in_an_answer_stay_as_they_are():
    mine = Answers("a", {"1": ("{x} {0} {{}}",), "68": ("",)})
    request = vicuna.pairwise_requests(BENCHMARK, QUESTIONS, mine, answers("b"), PROMPTS)[0]
    assert request.messages[1]["content"] == "問一|{x} {0} {{}}|答1"


def test_errors_are_counted_and_nobodys_win_and_compat_gives_them_to_the_second_name():
    replies = {
        "vicuna-1-game1": text("", "[[A]]"),
        "vicuna-1-game2": text("", "[[B]]"),
        "vicuna-68-game1": JudgeReply("", None, "no reply after 9 tries: status 500"),
    }
    result = vicuna.score_pairwise(
        BENCHMARK, QUESTIONS, answers("a"), answers("b"), replies, {"judge": "gpt-4"}
    )
    assert result["scores"] == {"adjusted_win_rate": 1.0, "win_rate": 1.0, "tie_rate": 0.0}
    assert result["compat"]["scores"]["adjusted_win_rate"] == 0.5
    assert result["categories"] == {"generic": 1.0}
    assert result["counts"] == {"items": 2, "scored": 1, "errors": 1, "wins": 1, "ties": 0, "losses": 0, "replies": 4, "reply_errors": 2}  # fmt: skip
    item = result["items"][1]
    assert (item["outcome"], item["compat_outcome"]) == ("error", "loss")
    assert item["errors"] == ["no reply after 9 tries: status 500", "no reply"]
    other = vicuna.score_pairwise(BENCHMARK, QUESTIONS, answers("b"), answers("a"), replies, {})
    assert other["scores"]["win_rate"] == 0.0
    assert other["items"][1]["compat_outcome"] == "win"


def test_single_marks_without_a_number_are_left_out_and_minus_one_in_compat():
    replies = {"vicuna-1-single": text("", "[[8]]"), "vicuna-68-single": text("", "よい")}
    result = vicuna.score_single(BENCHMARK, QUESTIONS, answers("a"), replies, {})
    assert result["scores"] == {"average": 8}
    assert result["compat"]["scores"] == {"average": 3.5}
    assert result["counts"]["errors"] == 1
    assert result["categories"] == {"generic": 8}
    replies["vicuna-68-single"] = text("", "[[05]]")
    result = vicuna.score_single(BENCHMARK, QUESTIONS, answers("a"), replies, {})
    assert result["scores"] == {"average": 6.5}
    assert result["compat"]["scores"] == {"average": None}


def test_single_requests_show_one_answer_and_its_reference():
    requests = vicuna.single_requests(BENCHMARK, QUESTIONS, answers("a"), PROMPTS)
    assert [r.messages[1]["content"] for r in requests] == ["問一|答1", "問二|参考|答68"]


def test_a_model_is_not_compared_with_itself():
    with pytest.raises(UserError, match="both files hold answers of 'a'"):
        vicuna.pairwise_requests(BENCHMARK, QUESTIONS, answers("a"), answers("a"), PROMPTS)
