"""The file that a model's answers are kept in: what a kill leaves, and who else may have written to it."""

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.answers_file import AnswersFile

WHOSE = {"model": "a", "prompts": "1"}


def test_answers_come_back_and_a_half_line_is_written_over(tmp_path):
    path = tmp_path / "answers" / "jnli.jsonl"
    AnswersFile(path, WHOSE, 3).add({2: {"raw": "二\u2028行\n"}})
    with path.open("ab") as file:
        file.write(b'{"index": 0, "raw": "ha')
    kept = AnswersFile(path, WHOSE, 3)
    assert kept.missing == [0, 1]
    kept.add({0: {"raw": ""}})
    kept.add({1: {"raw": "x"}})
    again = AnswersFile(path, WHOSE, 3)
    assert [again.answers[i]["raw"] for i in range(3)] == ["", "x", "二\u2028行\n"]


@pytest.mark.parametrize(
    "line", ["{}", "[1]", "null", '{"identity": [1]}', '{"identity": null}', "\x00"]
)
def test_a_first_line_that_says_nothing_is_named(tmp_path, line):
    path = tmp_path / "jnli.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(UserError, match="line 1 is broken; remove the file"):
        AnswersFile(path, WHOSE, 3)


def test_two_processes_do_not_write_over_each_others_answers(tmp_path):
    path = tmp_path / "jnli.jsonl"
    first, second = AnswersFile(path, WHOSE, 3), AnswersFile(path, WHOSE, 3)
    first.add({0: {"raw": "a"}})
    with pytest.raises(UserError, match="is being written by another process"):
        second.add({0: {"raw": "b"}})
    first.add({1: {"raw": "c"}})
    assert AnswersFile(path, WHOSE, 3).missing == [2]
