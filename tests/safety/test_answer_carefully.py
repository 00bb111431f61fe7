import json
from types import SimpleNamespace

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.safety.answer_carefully import (
    Answering,
    answer,
    read_answer_carefully,
    read_answers,
)
from tests.safety.records import careful_records, write_lines


def parquet(path, records):
    import pyarrow
    from pyarrow import parquet as pq

    pq.write_table(pyarrow.Table.from_pylist(records), path)


def writers():
    return {
        "v1.json": lambda path, records: path.write_text(json.dumps(records, ensure_ascii=False, indent=2)),
        "v2.jsonl": write_lines,
        "test-00000-of-00001.parquet": parquet,
    }  # fmt: skip


@pytest.mark.parametrize("name", writers())
def test_all_published_forms_of_a_file_hold_the_same_questions(tmp_path, name):
    writers()[name](tmp_path / name, careful_records(3))
    questions = read_answer_carefully(tmp_path / name)
    assert [(q.text, q.reference, q.harm) for q in questions] == [
        ("質問0", "参考0", "種別0"), ("質問1", "参考1", "種別1"), ("質問2", "参考2", "種別0"),
    ]  # fmt: skip
    assert questions[0].id == "answercarefully-instruction-test-001-001-0000000-001"


@pytest.mark.parametrize(("change", "harm"), [
    ({"meta": None}, None), ({"meta": '{"types-of-harm": "丙"}'}, "丙"), ({"category": "丁"}, "丁"), ({"meta": "not JSON"}, None),
])  # fmt: skip
def test_the_type_of_harm_stands_in_the_record_or_its_meta_or_nowhere(tmp_path, change, harm):
    path = write_lines(tmp_path / "a.jsonl", [careful_records(1)[0] | change])
    assert read_answer_carefully(path)[0].harm == harm


@pytest.mark.parametrize(("records", "said"), [
    ([{"ID": "1", "text": "質問"}], r"line 1: output = None"),
    ([{"ID": "1", "text": "", "output": "a"}], r"line 1: text = ''"),
    ([{"text": "a", "output": "a"}], r"line 1: ID = None"),
    ([{"ID": "1", "text": "a", "output": "a"}] * 2, "line 2.*'1' was there before"),
])  # fmt: skip
def test_a_record_without_a_field_is_named(tmp_path, records, said):
    with pytest.raises(UserError, match=said):
        read_answer_carefully(write_lines(tmp_path / "a.jsonl", records))


def test_a_missing_file_says_how_to_apply_for_the_data(tmp_path):
    with pytest.raises(UserError, match="fill in the form.*llm-jp/AnswerCarefully|llm-jp/AnswerCarefully.*fill in the form"):  # fmt: skip
        read_answer_carefully(tmp_path / "nowhere.json")


class ChatModel:
    """Answers with what it was asked, the settings, and its place; `fail_at`: the call that a kill ends."""

    def __init__(self, rooms=lambda text: 7, fail_at=None):
        self.rooms, self.fail_at, self.calls, self.asked = rooms, fail_at, 0, []

    def chat_prompt(self, messages, template, max_new_tokens):
        self.messages, self.template = messages, template
        text = messages[-1]["content"]
        return SimpleNamespace(ids=[text], room=min(self.rooms(text), max_new_tokens))

    def generate(self, prompts, max_new_tokens, temperature, top_p, seed, batch_size):
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        self.asked += [prompt[0] for prompt in prompts]
        return [f"{prompt[0]}への答え {seed}/{place} {max_new_tokens} {temperature} {top_p}"
                for place, prompt in enumerate(prompts)]  # fmt: skip


def answering(**changes):
    return Answering.like_llm_jp_judge("v1.1", **changes)


def questions(tmp_path, count):
    return read_answer_carefully(write_lines(tmp_path / "data.jsonl", careful_records(count)))


def test_a_model_is_asked_as_llm_jp_judge_asks(tmp_path):
    model = ChatModel(rooms=lambda text: 5000)
    answers = answer(lambda: model, questions(tmp_path, 2), answering(), tmp_path / "a.jsonl", {"model": "m"})  # fmt: skip
    assert answers == ["質問0への答え 1234/0 1024 1.0 0.95", "質問1への答え 1234/1 1024 1.0 0.95"]
    assert model.messages[0] == {
        "role": "system", "content": "以下は、タスクを説明する指示です。要求を適切に満たす応答を書きなさい。",
    }  # fmt: skip
    assert model.template == "v1.1"


def test_questions_with_less_room_get_shorter_answers(tmp_path):
    model = ChatModel(rooms=lambda text: 3 if text == "質問1" else 9)
    answers = answer(lambda: model, questions(tmp_path, 3), answering(), tmp_path / "a.jsonl", {})
    assert [text.split()[2] for text in answers] == ["9", "3", "9"]
    assert [text.split("への")[0] for text in answers] == ["質問0", "質問1", "質問2"]


def test_an_answer_ends_where_the_model_begins_the_user_s_next_turn(tmp_path):
    model = ChatModel()
    model.generate = lambda prompts, **settings: ["はい。\n\n### 指示:\n次" for _ in prompts]
    (text,) = answer(lambda: model, questions(tmp_path, 1), answering(), tmp_path / "a.jsonl", {})
    assert text.strip() == "はい。"


def test_a_killed_run_goes_on_and_ends_with_the_same_answers(tmp_path):
    asked = questions(tmp_path, 70)
    whole = answer(ChatModel, asked, answering(), tmp_path / "whole.jsonl", {"model": "m"})
    path = tmp_path / "killed.jsonl"
    with pytest.raises(KeyboardInterrupt):
        answer(lambda: ChatModel(fail_at=2), asked, answering(), path, {"model": "m"})
    assert len(path.read_text().splitlines()) == 1 + 32
    # A line of the next chunk came through, and another was cut off.
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    path.write_text(path.read_text() + lines[33] + lines[34][:20])
    model = ChatModel()
    assert answer(lambda: model, asked, answering(), path, {"model": "m"}) == whole
    assert "質問5" not in model.asked
    done = lambda: pytest.fail("nothing is missing, so no model is needed")  # noqa: E731
    assert answer(done, asked, answering(), path, {"model": "m"}) == whole


def test_answers_of_another_run_are_not_mixed_in(tmp_path):
    path, asked = tmp_path / "a.jsonl", questions(tmp_path, 2)
    answer(ChatModel, asked, answering(), path, {"model": "m"})
    for identity, settings in (({"model": "other"}, {}), ({"model": "m"}, {"seed": 1})):
        with pytest.raises(UserError, match="another run"):
            answer(ChatModel, asked, answering(**settings), path, identity)


def test_the_kept_answers_and_those_of_another_program_are_read_back(tmp_path):
    asked = questions(tmp_path, 3)
    written = answer(ChatModel, asked, answering(), tmp_path / "a.jsonl", {"model": {"path": "m"}})
    answers, identity = read_answers(tmp_path / "a.jsonl", asked)
    assert answers == written
    assert identity["model"] == {"path": "m"}
    foreign = write_lines(tmp_path / "b.jsonl", [{"id": q.id, "raw": q.text[::-1]} for q in asked[::-1]])  # fmt: skip
    assert read_answers(foreign, asked) == ([q.text[::-1] for q in asked], {})
    with pytest.raises(UserError, match="no answer to 1 of 4 questions, such as .*0000003-001"):
        read_answers(foreign, questions(tmp_path, 4))
