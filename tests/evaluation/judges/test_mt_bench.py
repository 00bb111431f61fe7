from statistics import fmean

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.judges import mt_bench
from llmjp_jax.evaluation.judges.benchmarks import find_benchmark
from llmjp_jax.evaluation.judges.records import Answers, JudgePrompt, Question, with_references
from llmjp_jax.evaluation.judges.requests import JudgeReply

BENCHMARK = find_benchmark("mt_bench")
PROMPTS = {
    name: JudgePrompt(name, "", template)
    for name, template in {
        "single-v1": "{question}|{answer}",
        "single-math-v1": "{question}|{ref_answer_1}|{answer}",
        "single-v1-multi-turn": "{question_1}|{answer_1}|{question_2}|{answer_2}",
        "single-math-v1-multi-turn": "{question_1}|{ref_answer_1}|{question_2}|{ref_answer_2}|{answer_1}|{answer_2}",
    }.items()
}
QUESTIONS = [
    Question("1", "coding", ("問一", "問二"), ("参一", "参二")),
    Question("71", "writing", ("問三", "問四")),
]
ANSWERS = Answers("mine", {"1": ("答一", "答二"), "71": ("答三", "答四")})


def replies(**texts):
    return {id: JudgeReply(id, said, None) for id, said in texts.items()}


def test_the_second_turn_shows_the_conversation_and_hard_categories_their_references():
    requests = mt_bench.requests_of(BENCHMARK, QUESTIONS, ANSWERS, PROMPTS)
    assert {r.id: r.messages[0]["content"] for r in requests} == {
        "mt_bench-1-turn1": "問一|参一|答一",
        "mt_bench-1-turn2": "問一|参一|問二|参二|答一|答二",
        "mt_bench-71-turn1": "問三|答三",
        "mt_bench-71-turn2": "問三|答三|問四|答四",
    }
    assert all(len(r.messages) == 1 for r in requests)  # no empty system message
    assert {(r.temperature, r.max_tokens) for r in requests} == {(0.0, 2048)}


def test_a_system_prompt_comes_first():
    prompts = {name: JudgePrompt(name, "助手", p.prompt_template) for name, p in PROMPTS.items()}
    request = mt_bench.requests_of(BENCHMARK, QUESTIONS, ANSWERS, prompts)[0]
    assert [message["role"] for message in request.messages] == ["system", "user"]


def test_the_average_is_of_all_marks_and_not_of_categories():
    said = {
        "mt_bench-1-turn1": "[[2]]",
        "mt_bench-1-turn2": "わかりません",
        "mt_bench-71-turn1": "評価：[[10]]",
        "mt_bench-71-turn2": "[[9]]",
    }
    result = mt_bench.score(BENCHMARK, QUESTIONS, ANSWERS, replies(**said), {"judge": "gpt-4"})
    assert result["scores"] == {"average": fmean([2, 10, 9]), "turn_1": 6, "turn_2": 9}
    assert result["categories"] == {"coding": 2, "writing": 9.5}
    assert result["counts"] == {"items": 2, "scored": 3, "errors": 1, "replies": 4, "reply_errors": 0}  # fmt: skip
    assert result["items"][0]["ratings"] == [2, None]
    assert (result["kind"], result["provenance"]) == ("mt_bench", {"judge": "gpt-4"})


def test_a_reply_that_never_came_is_an_error_and_lowers_nothing():
    found = {
        "mt_bench-1-turn1": JudgeReply("", None, "content filter"),
        **replies(**{"mt_bench-71-turn1": "[[7]]"}),
    }
    result = mt_bench.score(BENCHMARK, QUESTIONS, ANSWERS, found, {})
    assert result["scores"] == {"average": 7, "turn_1": 7, "turn_2": None}
    assert result["counts"]["reply_errors"] == 3
    assert result["items"][0]["errors"] == ["content filter", "no reply"]


def test_a_question_without_the_reference_that_its_category_needs_is_named():
    bare = [Question("1", "coding", ("問一", "問二"))]
    with pytest.raises(UserError, match="question 1 .coding. has no reference"):
        with_references(bare, BENCHMARK, None)
    with pytest.raises(UserError, match="question 1"):
        with_references(bare, BENCHMARK, Answers("gpt-4", {"1": ("参一",)}))
    both = with_references(bare, BENCHMARK, Answers("gpt-4", {"1": ("参一", "参二")}))
    assert both[0].reference == ("参一", "参二")
    assert with_references(QUESTIONS, BENCHMARK, None) == QUESTIONS


def test_a_prompt_that_the_file_lacks_is_named_with_the_nearest():
    prompts = {"single-v1-multi-turns": PROMPTS["single-v1"], **PROMPTS}
    del prompts["single-v1-multi-turn"]
    with pytest.raises(UserError, match="none named 'single-v1-multi-turn'; the nearest is 'single-v1-multi-turns'"):  # fmt: skip
        mt_bench.requests_of(BENCHMARK, QUESTIONS, ANSWERS, prompts)


def test_temperatures_of_answers_are_those_of_the_benchmarks_program():
    assert set(BENCHMARK.answers.temperatures) == set(BENCHMARK.categories)
    assert {c for c, t in BENCHMARK.answers.temperatures.items() if t == 0.7} == {"writing", "roleplay"}  # fmt: skip
    assert {c for c, t in BENCHMARK.answers.temperatures.items() if t == 0.1} == {"stem", "humanities"}  # fmt: skip
    vicuna = find_benchmark("vicuna")
    assert set(vicuna.answers.temperatures) == set(vicuna.categories)
