import dataclasses
import json

import pytest

from llmjp_jax.conversations import ChatPrompt
from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.judges.answers import Answering, answer_questions
from llmjp_jax.evaluation.judges.benchmarks import find_benchmark
from llmjp_jax.evaluation.judges.records import Question, read_answers

MT_BENCH, VICUNA = find_benchmark("mt_bench"), find_benchmark("vicuna")
QUESTIONS = [
    Question(str(number), category, (f"問{number}", f"続{number}"))
    for number, category in enumerate(["writing", "math", "writing", "stem", "coding"] * 8)
]


class Echo:
    """A model whose prompts are the code points of its messages, and whose answer says what it was given."""

    def __init__(self, max_length=4096, tail="", stop_after=None):
        self.max_length, self.tail, self.stop_after = max_length, tail, stop_after
        self.calls = []

    def chat_prompt(self, messages, template, max_new_tokens):
        text = "/".join(f"{message['role'][0]}:{message['content']}" for message in messages)
        dropped = 2 * (len(text) + max_new_tokens > self.max_length and len(messages) > 1)
        return ChatPrompt([ord(c) for c in text], dropped, min(max_new_tokens, self.max_length - len(text)))  # fmt: skip

    def generate(self, prompts, **settings):
        if self.stop_after is not None and len(self.calls) == self.stop_after:
            raise KeyboardInterrupt
        self.calls.append((prompts, settings))
        return [f"答<{''.join(map(chr, ids))}>{settings['seed']}.{row}{self.tail}" for row, ids in enumerate(prompts)]  # fmt: skip


def answering(benchmark=MT_BENCH, settings=None, **fields):
    given = {"name": "mine", "template": "v1.1", "identity": {"path": "/m"}, **fields}
    return Answering(settings=dataclasses.replace(benchmark.answers, **(settings or {})), **given)


def test_both_turns_are_answered_and_the_second_sees_the_first(tmp_path):
    output = tmp_path / "answers.jsonl"
    assert answer_questions(Echo, QUESTIONS, answering(), output) == 0
    found = read_answers(output)
    assert found.model == "mine"
    assert set(found.turns) == {question.id for question in QUESTIONS}
    first, second = found.turns["0"]
    assert first == "答<u:問0>0.0"
    assert second == f"答<u:問0/a:{first}/u:続0>0.0"


def test_temperatures_are_by_category_unless_one_is_given(tmp_path):
    model = Echo()
    answer_questions(lambda: model, QUESTIONS, answering(), tmp_path / "a.jsonl")
    seen = {}
    for prompts, settings in model.calls:
        for ids in prompts:
            number = int("".join(map(chr, ids)).split("問")[1].split("/")[0])
            seen[number] = settings["temperature"]
        assert settings["top_p"] == 1.0 and settings["max_new_tokens"] == 1024
    assert seen == {int(q.id): {"writing": 0.7, "stem": 0.1}.get(q.category, 0.0) for q in QUESTIONS}  # fmt: skip
    model = Echo()
    answer_questions(lambda: model, QUESTIONS, answering(temperature=0.7), tmp_path / "b.jsonl")
    assert {settings["temperature"] for _, settings in model.calls} == {0.7}


def test_a_kill_changes_no_answer_and_nothing_is_answered_twice(tmp_path):
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    complete = Echo()
    answer_questions(lambda: complete, QUESTIONS, answering(), whole)
    interrupted = Echo(stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        answer_questions(lambda: interrupted, QUESTIONS, answering(), broken)
    kept = read_answers(broken).turns
    assert 0 < len(kept) < len(QUESTIONS)
    with broken.open("a") as file:
        file.write('{"question_id": 1, "cho')
    resumed = Echo()
    answer_questions(lambda: resumed, QUESTIONS, answering(), broken)
    assert read_answers(broken) == read_answers(whole)
    assert len(resumed.calls) == len(complete.calls) - 2
    answer_questions(lambda: pytest.fail("all is answered"), QUESTIONS, answering(), broken)


def test_half_of_a_group_on_disk_is_finished_with_the_same_answers(tmp_path):
    whole = tmp_path / "whole.jsonl"
    answer_questions(Echo, QUESTIONS, answering(), whole)
    part = tmp_path / "part.jsonl"
    part.write_text("".join(whole.read_text().splitlines(keepends=True)[:5]))
    (tmp_path / "part.jsonl.config.json").write_text((tmp_path / "whole.jsonl.config.json").read_text())  # fmt: skip
    answer_questions(Echo, QUESTIONS, answering(), part)
    assert read_answers(part) == read_answers(whole)


@pytest.mark.parametrize(
    "other, field",
    [
        ({"name": "another"}, "model_id"),
        ({"identity": {"path": "/n"}}, "model"),
        ({"template": "v1.0"}, "template"),
        ({"temperature": 0.5}, "generation_config"),
        ({"settings": {"seed": 1}}, "generation_config"),
    ],
)
def test_answers_made_in_another_way_are_not_added_to(tmp_path, other, field):
    output = tmp_path / "answers.jsonl"
    answer_questions(Echo, QUESTIONS, answering(), output)
    before = output.read_text()
    with pytest.raises(UserError, match=f"made in another way .{field} differ"):
        answer_questions(Echo, QUESTIONS, answering(**other), output)
    with pytest.raises(UserError, match="questions_sha256"):
        answer_questions(Echo, QUESTIONS[:3], answering(), output)
    assert output.read_text() == before


def test_answers_of_unknown_making_are_not_added_to(tmp_path):
    output = tmp_path / "answers.jsonl"
    answer_questions(Echo, QUESTIONS, answering(), output)
    (tmp_path / "answers.jsonl.config.json").unlink()
    with pytest.raises(UserError, match="another way"):
        answer_questions(Echo, QUESTIONS, answering(), output)


def test_an_answer_ends_where_the_model_writes_the_users_next_turn(tmp_path):
    output = tmp_path / "answers.jsonl"
    model = Echo(tail="\n\n### 指示:\n次の質問")
    answer_questions(lambda: model, QUESTIONS[:1], answering(), output)
    assert read_answers(output).turns["0"][0] == "答<u:問0>0.0"


def test_vicuna_leaves_room_for_prompt_and_answer_in_2048_tokens(tmp_path):
    model = Echo()
    questions = [
        Question("1", "generic", ("問" * 10,)),
        Question("2", "generic", ("問" * 40,)),
        Question("3", "generic", ("問" * 1030,)),
        Question("4", "generic", ("問" * 2016,)),
    ]
    answer_questions(lambda: model, questions, answering(VICUNA), tmp_path / "a.jsonl")
    rooms = {settings["max_new_tokens"]: len(prompts) for prompts, settings in model.calls}
    assert rooms == {1984: 2, 960: 1, 30: 1}
    long = [Question("5", "generic", ("問" * 2046,))]
    with pytest.raises(UserError, match="question 5 makes a prompt of 2048 tokens"):
        answer_questions(lambda: model, long, answering(VICUNA), tmp_path / "b.jsonl")


def test_prompts_that_lost_a_turn_are_counted(tmp_path):
    model = Echo(max_length=1024 + 10)
    assert answer_questions(lambda: model, QUESTIONS[:4], answering(), tmp_path / "a.jsonl") == 4


def test_what_the_answers_were_made_with_stands_beside_them(tmp_path):
    answer_questions(Echo, QUESTIONS[:1], answering(), tmp_path / "a.jsonl")
    config = json.loads((tmp_path / "a.jsonl.config.json").read_text())
    assert config["template"] == "v1.1"
    assert config["generation_config"]["temperatures"]["writing"] == 0.7
    assert config["generation_config"]["max_new_tokens"] == 1024
