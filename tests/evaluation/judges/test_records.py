import json

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.judges.benchmarks import find_benchmark
from llmjp_jax.evaluation.judges.records import (
    JudgePrompt,
    answer_record,
    read_answers,
    read_prompts,
    read_questions,
)

VICUNA, MT_BENCH = find_benchmark("vicuna"), find_benchmark("mt_bench")


@pytest.fixture
def lines(tmp_path):
    def write(*records):
        path = tmp_path / "file.jsonl"
        path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records))
        return path

    return write


def test_the_real_questions_are_read_in_their_order(shared_data):
    questions = read_questions(shared_data / "evaluation/raw/ja_vicuna_qa/question.jsonl", VICUNA)
    assert [question.id for question in questions] == [str(id) for id in range(1, 81)]
    assert {q.category for q in questions} == set(VICUNA.categories)


def test_a_reference_may_stand_beside_the_question(lines):
    path = lines({"question_id": 1, "category": "math", "turns": ["a", "b"], "reference": ["c", "d"]})  # fmt: skip
    assert read_questions(path, MT_BENCH)[0].reference == ("c", "d")


@pytest.mark.parametrize(
    "record, sentence",
    [
        ({"category": "math", "turns": ["a", "b"]}, "line 2, has no question_id"),
        ({"question_id": 9, "category": "maths", "turns": ["a", "b"]}, "'maths'.* nearest is 'math'"),
        ({"question_id": 9, "category": "math", "turns": ["a"]}, "2 texts in 'turns'"),
        ({"question_id": 9, "category": "math", "turns": "ab"}, "2 texts in 'turns'"),
        ({"question_id": 1, "category": "math", "turns": ["a", "b"]}, "question_id 1 a second time"),
        ('{"question_id": 9, "cat', "line 2, is not JSON .* cut off"),
        ("[1]", "line 2, is no JSON object"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_question_names_its_line(lines, record, sentence):
    path = lines({"question_id": 1, "category": "math", "turns": ["a", "b"]}, record)
    with pytest.raises(UserError, match=sentence):
        read_questions(path, MT_BENCH)


def test_ids_that_are_numbers_here_and_text_there_are_the_same(lines):
    assert read_answers(lines({"question_id": "61", "model_id": "m", "choices": [{"turns": ["x"]}]})).turns == {"61": ("x",)}  # fmt: skip


@pytest.mark.parametrize(
    "record, sentence",
    [
        ({"question_id": 2, "model_id": "m", "choices": []}, "line 2, has no list of texts"),
        ({"question_id": 2, "model_id": "m", "choices": [{"turns": [None]}]}, "line 2, has no list"),
        ({"question_id": 2, "model_id": "m", "choices": [{"turns": ["\ud83d"]}]}, "line 2, has no list"),
        ({"question_id": 1, "model_id": "m", "choices": [{"turns": ["b"]}]}, "question 1 a second time"),
        ({"question_id": 2, "model_id": "n", "choices": [{"turns": ["b"]}]}, "answers of m, n"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_answer_is_named(lines, record, sentence):
    first = {"question_id": 1, "model_id": "m", "choices": [{"index": 0, "turns": ["a"]}]}
    with pytest.raises(UserError, match=sentence):
        read_answers(lines(first, record))


def test_an_answer_that_is_written_is_read_back(lines, shared_data):
    question = read_questions(shared_data / "evaluation/raw/ja_vicuna_qa/question.jsonl", VICUNA)[0]
    record = answer_record(question, "m", ["答え\u2028\n"])
    assert read_answers(lines(record)).turns == {"1": ("答え\u2028\n",)}
    published = (
        shared_data
        / "evaluation/raw/ja_vicuna_qa/model_answer/openai--text-davinci-003/results.jsonl"
    )
    assert list(record) == list(json.loads(published.read_text().split("\n")[0]))
    assert record["question_id"] == 1


def test_a_place_that_nothing_fills_is_named():
    with pytest.raises(UserError, match="'p' cannot be filled .*answer_c.* places may be question"):
        JudgePrompt("p", "", "{answer_c}").messages(question="x")


@pytest.mark.parametrize("template, sentence", [("{question", "stray brace"), (3, "must have the texts")])  # fmt: skip
def test_a_prompt_that_is_none_names_its_line(lines, template, sentence):
    with pytest.raises(UserError, match=f"line 1, .*{sentence}"):
        read_prompts(lines({"name": "p", "system_prompt": "", "prompt_template": template}))


def test_an_unknown_benchmark_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'mt_bench'"):
        find_benchmark("mtbench")
